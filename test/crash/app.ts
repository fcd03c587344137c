/** The app of the crash suite: says who answers, and crashes at its start when a fuse is lit for its slot. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** @param fuses folder in which a file with the app's name holds the slot whose instance is to crash. */
export async function writeCrashApp(root: string, fuses: string, version: string): Promise<string> {
  const name = `crash-${version}`
  const folder = join(root, name)
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'package.json'), JSON.stringify({ name, private: true, type: 'module' }))
  await writeFile(join(folder, 'app.yaml'), 'command: [node, server.mjs]\n')
  await writeFile(join(folder, 'server.mjs'), CODE(version, fuses))
  return name
}

const CODE = (version: string, fuses: string): string => `
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
const slot = Number(process.env.COPPICE_SLOT)
try {
  const lit = readFileSync(join(${JSON.stringify(fuses)}, process.env.DATABRICKS_APP_NAME), 'utf8')
  if (Number(lit) === slot) {
    console.error('the fuse of slot ' + slot + ' is lit')
    process.exit(4)
  }
} catch {}
const body = JSON.stringify({ version: ${JSON.stringify(version)}, instance: process.env.COPPICE_INSTANCE_ID, slot })
const server = createServer((request, response) => {
  const slow = Number(new URL(request.url, 'http://app').searchParams.get('slow') ?? 0)
  response.setHeader('content-type', 'application/json')
  setTimeout(() => response.end(body), slow)
})
server.listen(Number(process.env.DATABRICKS_APP_PORT), '0.0.0.0', () => console.log('listening'))
process.on('SIGTERM', () => {
  server.close(() => process.exit(0))
  setInterval(() => server.closeIdleConnections(), 20)
})
`
