import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { type ProcessRow, systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { until } from './ready.ts'
import { endRecorded, type ProcessRecord, Supervised, type SupervisedSpec } from './supervised.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-supervised-'))
})
afterEach(() => removeTree(folder))

const spec = (script: string, more: Partial<SupervisedSpec> = {}): SupervisedSpec => ({
  name: 'thing',
  command: ['/bin/sh', '-c', script],
  env: { PATH: '/usr/bin:/bin' },
  cwd: folder,
  logFile: join(folder, 'thing.log'),
  stopSignal: 'SIGTERM',
  stopGraceMs: 2_000,
  ready: async () => {},
  readyTimeoutMs: 5_000,
  restart: true,
  ...more,
})

async function alive(pid: number): Promise<boolean> {
  const row = await systemProcessTable().row(pid)
  return row !== null && !row.zombie
}

describe('a supervised process', () => {
  it('R14.1 is written down before it runs, and does not run when it cannot be', async () => {
    const pids: number[] = []
    const record = async (written: ProcessRecord | null) => {
      if (written === null) return
      pids.push(written.pid)
      expect(existsSync(join(folder, 'ran'))).toBe(false)
      throw new Error('no space left on device')
    }
    const thing = new Supervised(spec('touch ran; exec sleep 60', { restart: false }), { record, onEvent: () => {} })
    await expect(thing.start()).rejects.toThrow('ended with code 97')
    expect(pids).toHaveLength(1)
    expect(await alive(pids[0] as number)).toBe(false)
    expect(existsSync(join(folder, 'ran'))).toBe(false)
  })

  it('is killed with its group when it does not end in time', async () => {
    const up = () => existsSync(join(folder, 'up'))
    const stubborn = spec('trap "" TERM; sleep 61 & touch up; wait; wait; wait', {
      stopGraceMs: 200,
      ready: (signal) => until(up, signal),
    })
    const thing = new Supervised(stubborn, { record: async () => {}, onEvent: () => {} })
    await thing.start()
    const group = thing.pid as number
    expect(await thing.stop()).toBe('killed')
    // To be gone takes the kernel some ms.
    const living = (row: ProcessRow) => row.group === group && !row.zombie
    await until(async () => !(await systemProcessTable().rows()).some(living), AbortSignal.timeout(8_000))
  })

  it('is told to end also while it is stopped, and ends as it would otherwise', async () => {
    const told = join(folder, 'told')
    const up = () => existsSync(join(folder, 'up'))
    const orderly = spec(`trap "touch ${told}; exit" TERM; touch up; while :; do sleep 0.05; done`, {
      ready: (signal) => until(up, signal),
    })
    const thing = new Supervised(orderly, { record: async () => {}, onEvent: () => {} })
    await thing.start()
    thing.kill('SIGSTOP')
    expect(await thing.stop()).toBe('ended')
    expect(existsSync(told)).toBe(true)
  })

  it('that leads no group, as a starter in the group of its shell, is killed all the same', async () => {
    const stubborn = spawn('/bin/sh', ['-c', 'trap "" TERM; echo up; while :; do sleep 0.05; done'])
    await once(stubborn.stdout, 'data')
    const pid = stubborn.pid as number
    const startTime = (await systemProcessTable().row(pid))?.startTime as string
    await endRecorded({ pid, startTime }, { stopSignal: 'SIGTERM', stopGraceMs: 100 })
    expect(await alive(pid)).toBe(false)
  })

  it('is killed and started again when it hangs: alive, and no sign of life', async () => {
    const events: string[] = []
    const beat = join(folder, 'beat')
    // Each answer of the process is one line more.
    const script = 'while :; do echo x >> beat; sleep 0.02; done'
    let seen = 0
    const answers = async () => {
      const size = statSync(beat).size
      const grown = size > seen
      seen = size
      return grown
    }
    const looping = spec(script, { answers, askEveryMs: 100, ready: (signal) => until(() => existsSync(beat), signal) })
    const thing = new Supervised(looping, { record: async () => {}, onEvent: (words) => events.push(words) })
    await thing.start()
    const first = thing.pid as number
    // As many questions as would have ended it, all answered.
    await sleep(1_000)
    expect(events).toEqual([])
    thing.kill('SIGSTOP')
    await until(() => thing.pid !== null && thing.pid !== first, AbortSignal.timeout(8_000))
    expect(events).toEqual([
      'thing: runs, and gave no sign of life 6 times; killed',
      expect.stringContaining('ended by SIGKILL; started again'),
    ])
    await thing.stop()
    expect(await alive(first)).toBe(false)
  })

  it('R12.3 that was killed leaves nobody of its group, who may be stopped and hold its port, when it is started again', async () => {
    const started = join(folder, 'started')
    const children = spec(`sleep 64 & kill -STOP $!; echo $! >> started; exec sleep 65`, {
      ready: (signal) => until(() => existsSync(started), signal),
    })
    const thing = new Supervised(children, { record: async () => {}, onEvent: () => {} })
    await thing.start()
    const first = thing.pid as number
    const child = Number(readFileSync(started, 'utf8'))
    expect(await alive(child)).toBe(true)
    thing.kill('SIGKILL')
    await until(() => thing.pid !== null && thing.pid !== first, AbortSignal.timeout(8_000))
    await until(async () => !(await alive(child)), AbortSignal.timeout(8_000))
    await thing.stop()
  })

  it('is not asked any more once it shall be down, and an answer that never comes is a no', async () => {
    const events: string[] = []
    let asked = 0
    const answers = (signal: AbortSignal): Promise<boolean> => {
      asked++
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('late'))))
    }
    const deaf = spec('exec sleep 62', { answers, askEveryMs: 40 })
    const thing = new Supervised(deaf, { record: async () => {}, onEvent: (words) => events.push(words) })
    await thing.start()
    const first = thing.pid
    await until(() => thing.pid !== null && thing.pid !== first, AbortSignal.timeout(8_000))
    await thing.stop()
    const before = asked
    await sleep(200)
    expect(asked).toBe(before)
    expect(events).toHaveLength(2)
  })

  it('is given up when it ends three times before it serves, with the last that it said', async () => {
    const events: string[] = []
    const never = {
      ready: (signal: AbortSignal) => new Promise<void>((_, reject) => signal.addEventListener('abort', reject)),
    }
    const said = `echo '{"level":50,"msg":"the key is missing"}'; exit 4`
    const thing = new Supervised(spec(said, never), { record: async () => {}, onEvent: (words) => events.push(words) })
    await expect(thing.start()).rejects.toMatchObject({
      message: 'thing ended with code 4 before it served',
      logLines: ['the key is missing'],
    })
    expect(events).toHaveLength(2)
  })
})
