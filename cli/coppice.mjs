#!/usr/bin/env node
// Whatever Node starts this (18 or later): runs main.ts on the project's own Node, which takes TypeScript as it stands.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const folder = dirname(fileURLToPath(import.meta.url))
const node = join(folder, '..', 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
const main = join(folder, 'main.ts')

if (Number(process.versions.node.split('.')[0]) >= 24) {
  await import(pathToFileURL(main))
} else if (!existsSync(node)) {
  process.stderr.write(
    `coppice is not set up yet: ${node} is missing.\nRun "node ${join(folder, '..', 'scripts', 'setup.mjs')}" first.\n`,
  )
  process.exit(2)
} else {
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' })
  // A terminal sends Ctrl-C to both; what it means is the child's to say. Other signals reach only this process.
  process.on('SIGINT', () => {})
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
}
