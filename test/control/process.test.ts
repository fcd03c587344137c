import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { openStore } from '../../store/store.ts'

const PROGRAM = join(import.meta.dirname, '..', '..', 'control', 'main.ts')

let home: string
const started: ChildProcess[] = []

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'coppice-control-'))
})
afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    // While it lives it may write into the folder, which would then stay.
    await exited
  }
  await removeTree(home)
})

function start(...args: string[]) {
  const child = spawn(process.execPath, [PROGRAM, '--home', home, '--temporal-address', '127.0.0.1:1', ...args], {
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  started.push(child)
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      text += chunk
    })
  const ended = once(child, 'close').then(([code]) => ({ code, text }))
  const listening = async (): Promise<string> => {
    for (;;) {
      const url = /"url":"([^"]+)"/.exec(text)?.[1]
      if (url !== undefined) return url
      if (child.exitCode !== null) throw new Error(text)
      await Promise.race([once(child.stdout, 'data'), ended])
    }
  }
  return { child, ended, listening }
}

it('R12.4 starts and serves while Temporal is down, and stops on SIGTERM with streams open', async () => {
  const { child, ended, listening } = start('--api-listen', '127.0.0.1:0')
  const url = await listening()
  const headers = { authorization: `Bearer ${readFileSync(join(home, 'token'), 'utf8').trim()}` }
  expect((await fetch(`${url}/api/2.0/apps`, { headers })).status).toBe(200)
  const stream = await fetch(`${url}/api/coppice/v1/routes/stream?router=r`, { headers })
  child.kill('SIGTERM')
  expect((await ended).code).toBe(0)
  await stream.text().catch(() => {})
})

it('R14.1 a second one on the same data directory is refused, and the lock of a killed one is free at once', async () => {
  const first = start('--api-listen', '127.0.0.1:0')
  await first.listening()
  const second = await start('--api-listen', '127.0.0.1:0').ended
  expect(second.code).toBe(1)
  expect(second.text).toContain(`Another control plane runs on the data directory ${home}`)
  first.child.kill('SIGKILL')
  await first.ended
  const third = start('--api-listen', '127.0.0.1:0')
  await third.listening()
})

it('a taken port gets a message that names the flag and the variable, and leaves no sign of life', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  const { code, text } = await start('--api-listen', `127.0.0.1:${port}`).ended
  other.close()
  expect(code).toBe(1)
  expect(text).toMatch(new RegExp(`127.0.0.1:${port} is taken.*--api-listen.*COPPICE_API_LISTEN`))
  const store = await openStore({ home })
  expect((await store.routers.acknowledged(1)).controlPlaneDown).toBe(true)
  await store.close()
})
