import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { acquireProcessLock } from './process-lock.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-lock-'))
})
afterEach(() => removeTree(folder))

it('R14.1 gives the lock to one holder, and to the next once it is released', () => {
  const file = join(folder, 'deep', 'home.lock')
  const first = acquireProcessLock(file)
  expect(first).not.toBeNull()
  expect(acquireProcessLock(file)).toBeNull()
  first?.release()
  first?.release()
  const second = acquireProcessLock(file)
  expect(second).not.toBeNull()
  expect(acquireProcessLock(file)).toBeNull()
  second?.release()
})

it('R14.1 gets the lock back from a holder that was killed with SIGKILL', async () => {
  const file = join(folder, 'home.lock')
  const module = new URL('./process-lock.ts', import.meta.url).href
  const script = `import { acquireProcessLock } from ${JSON.stringify(module)}
    const lock = acquireProcessLock(${JSON.stringify(file)})
    console.log(lock === null ? 'refused' : 'held')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const [answer] = await once(child.stdout, 'data')
    expect(String(answer).trim()).toBe('held')
    expect(acquireProcessLock(file)).toBeNull()
  } finally {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  const lock = acquireProcessLock(file)
  expect(lock).not.toBeNull()
  lock?.release()
})
