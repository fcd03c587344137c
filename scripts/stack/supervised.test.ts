import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { until } from './ready.ts'
import { type ProcessRecord, Supervised, type SupervisedSpec } from './supervised.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-supervised-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

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
    const rows = (await systemProcessTable().rows()).filter((row) => row.group === group && !row.zombie)
    expect(rows).toEqual([])
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
