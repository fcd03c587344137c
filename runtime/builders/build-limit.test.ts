import { spawn } from 'node:child_process'
import { mkdtempSync, realpathSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { removeTree } from '../artifacts/trees.ts'
import { limitBuild } from './build-limit.ts'
import { runCommand } from './command.ts'
import type { Caller } from './single-flight.ts'
import { isGone } from './testing.ts'

let home: string
/** The limit: what is called when it is reached, and for how long it was set. */
let limit: { ms: number; reached: () => void } | null
let said: string[]
let cancel: AbortController
let caller: Caller
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-limit-'))
  limit = null
  said = []
  cancel = new AbortController()
  caller = { signal: cancel.signal, log: (line) => said.push(line), onProgress: (words) => said.push(`at ${words}`) }
})
afterEach(() => removeTree(home))

const clock = {
  now: () => 0,
  elapsed: () => 0,
  after: (ms: number, reached: () => void) => {
    limit = { ms, reached }
    return () => {
      limit = null
    }
  },
}
const failure = (signal: AbortSignal) => {
  expect(signal.aborted).toBe(true)
  return signal.reason
}

describe('R3.6 a build', () => {
  it('without an end is ended with all that it started, and fails with its last lines and what to do', async () => {
    const { limited } = limitBuild(caller, 25 * 60_000, clock)
    limited.onProgress('Running npm run build')
    const running = runCommand(['/bin/sh', '-c', 'echo built; echo watching; sleep 600 & echo $! > pid; wait'], {
      cwd: home,
      env: { PATH: '/usr/bin:/bin' },
      signal: limited.signal,
      log: limited.log,
      name: 'npm run build',
      spawn,
      box: { prefix: [], homeId: 'test', folder: realpathSync(home) },
    })
    const failed = expect(running).rejects.toMatchObject({
      code: 'BuildFailed',
      message: expect.stringMatching(
        /^The build did not end within 25 minutes and was given up, at: Running npm run build\. .*--watch.*index.*COPPICE_BUILD_TIMEOUT_MS/,
      ),
      details: { step: 'Running npm run build', logLines: ['built', 'watching'] },
    })
    const pid = await vi.waitFor(
      async () => {
        expect(said).toContain('watching')
        const pid = Number(await readFile(join(home, 'pid'), 'utf8'))
        expect(pid).toBeGreaterThan(0)
        return pid
      },
      { timeout: 9_000 },
    )
    expect(limit?.ms).toBe(1_500_000)
    limit?.reached()
    await failed
    await vi.waitFor(() => expect(isGone(pid)).toBe(true))
    expect(said.at(-1)).toBe('coppice: The build did not end within 25 minutes and was given up')
  })

  it('that has ended is not limited any more', () => {
    limitBuild(caller, 1_000, clock).end()
    expect(limit).toBeNull()
  })

  it('that is cancelled first ends as cancelled', () => {
    const { limited } = limitBuild(caller, 1_000, clock)
    cancel.abort(new Error('cancelled'))
    limit?.reached()
    expect(failure(limited.signal).message).toBe('cancelled')
  })

  it('keeps its last 20 lines, and passes on whatever is said', () => {
    const { limited } = limitBuild(caller, 90_000, clock)
    for (let i = 1; i <= 30; i++) limited.log(`line ${i}`)
    limit?.reached()
    const { message, details } = failure(limited.signal)
    expect(message).toMatch(/^The build did not end within 90 s and was given up\. /)
    expect([details.logLines.length, details.logLines[0], details.logLines[19]]).toEqual([20, 'line 11', 'line 30'])
    expect(said.slice(0, 30)).toHaveLength(30)
  })
})
