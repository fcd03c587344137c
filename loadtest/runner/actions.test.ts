import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { seeded } from '../k6/random.ts'
import { SCENARIOS } from '../scenarios.ts'
import { Actions } from './actions.ts'
import type { AppAnswer, InstanceAnswer, PlatformApi } from './api.ts'
import type { Observer } from './observer.ts'
import type { Target } from './target.ts'

const table = systemProcessTable()
/** However busy the machine is. */
const until = (holds: () => unknown) => vi.waitFor(holds, 9_000)
const children: ChildProcess[] = []
afterEach(() => {
  for (const child of children.splice(0)) {
    try {
      process.kill(-(child.pid as number), 'SIGKILL')
    } catch {
      // It has been killed already.
    }
  }
})

/** A process group of its own, as instances have; with the mark of an instance, or without. */
async function start(instance: string | null, command = 'exec sleep 60'): Promise<ChildProcess> {
  const env = { PATH: process.env.PATH ?? '', ...(instance !== null && { COPPICE_INSTANCE_ID: instance }) }
  const child = spawn('/bin/sh', ['-c', command], { detached: true, stdio: 'ignore', env })
  children.push(child)
  await once(child, 'spawn')
  return child
}

const pidOf = (child: ChildProcess): number => child.pid as number

function actionsOn(pids: number[], more: Partial<PlatformApi> = {}) {
  const abort = new AbortController()
  const instances = pids.map(
    (pid, slot): InstanceAnswer => ({ id: `a-1-${slot}`, slot, role: 'serving', state: 'running', pid }),
  )
  const api = { instances: async () => instances, ...more } as unknown as PlatformApi
  const target = { api, app: 'a', own: false, deployment: async () => null } as unknown as Target
  const actions = new Actions({
    target,
    processes: table,
    observer: { isDown: () => false } as unknown as Observer,
    random: seeded(1, 1),
    requests: () => 0,
    say: () => {},
    signal: abort.signal,
  })
  return { actions, abort, target }
}

describe('a fault', () => {
  it.each(['kill', 'hang'] as const)(
    'R11.1 (%s) spares who has the pid of an instance of another machine on this one, and the run says that it was left out',
    async (kind) => {
      // A platform behind a tunnel: its API is on loopback, its pids are not of this machine.
      const foreign = [await start(null), await start('another-1-1')]
      const { actions, abort } = actionsOn(foreign.map(pidOf))
      // One that was killed all the same would be waited for.
      onTestFinished(() => abort.abort())
      const rows = async () => Promise.all(foreign.map(async (child) => table.row(pidOf(child))))
      const done = actions[kind](300).catch(() => {})
      for (const row of await rows()) expect(row).toMatchObject({ stopped: false, zombie: false })
      await done
      expect(foreign.map(({ signalCode }) => signalCode)).toEqual([null, null])
      expect(actions.skipped).toEqual([expect.stringContaining('not on this machine')])
      expect(actions.faults).toEqual([])
      expect(actions.marks).toEqual([])
    },
  )

  it('R12.2 stops the whole instance, who listens too, not only the process that was started, and lets all go on', async () => {
    const leaders = [await start('a-1-0', 'sleep 60 & sleep 60 & wait'), await start('a-1-1', 'sleep 60 & wait')]
    // It carries the mark, and has left the group.
    const apart = [await start('a-1-0'), await start('a-1-1')]
    const { actions, abort } = actionsOn(leaders.map(pidOf))
    const ended = actions.hang(60_000).catch((error: Error) => error.name)
    await until(() => expect(actions.faults).toHaveLength(1))
    const slot = actions.faults[0]?.slot as number
    const groups = [leaders[slot], apart[slot]].map((child) => pidOf(child as ChildProcess))
    const states = async () =>
      (await table.rows()).filter(({ group }) => groups.includes(group)).map((row) => row.stopped)
    await until(async () => expect(await states()).toEqual(Array(slot === 0 ? 4 : 3).fill(true)))
    abort.abort()
    expect(await ended).toBe('AbortError')
    await until(async () => expect(await states()).toEqual(Array(slot === 0 ? 4 : 3).fill(false)))
  })

  it('R12.1 kills the whole instance', async () => {
    const leaders = [await start('a-1-0', 'sleep 60 & wait'), await start('a-1-1', 'sleep 60 & wait')]
    const { actions, abort } = actionsOn(leaders.map(pidOf))
    const ended = actions.kill().catch((error: Error) => error.name)
    await until(() => expect(actions.faults).toHaveLength(1))
    const victim = leaders[actions.faults[0]?.slot as number] as ChildProcess
    await until(async () => {
      const left = (await table.rows()).filter(({ group, zombie }) => group === pidOf(victim) && !zombie)
      expect(left).toEqual([])
    })
    abort.abort()
    expect(await ended).toBe('AbortError')
  })
})

/** An API with one operation that goes on until it is told to end. */
function apiOfOne(app: Partial<AppAnswer> = {}) {
  const started: string[] = []
  const open = { state: 'RUNNING' }
  const api: Partial<PlatformApi> = {
    app: async () => ({ name: 'a', mode: 'scaled', urls: [], ...app }) as AppAnswer,
    start: async (_method, path) => `${started.push(path)}`,
    operation: async (id) => ({ id, type: 'resize', request_time: new Date(0).toISOString(), steps: [], ...open }),
  }
  return { api, started, open }
}

describe('when a run is cut short', () => {
  it('R10.1 an operation that is under way is waited for, and none is begun after it', async () => {
    const { api, started, open } = apiOfOne()
    const { actions } = actionsOn([], api)
    const timeline = (async () => {
      await actions.scale(5, 'resize to 5')
      await actions.scale(2, 'resize to 2')
    })().catch((error: Error) => error.message)
    await until(() => expect(started).toHaveLength(1))
    let closed = false
    const closing = actions.close().then(() => (closed = true))
    await new Promise((resolve) => setImmediate(resolve))
    expect(closed).toBe(false)
    open.state = 'SUCCEEDED'
    await closing
    expect(actions.operations).toHaveLength(1)
    expect(await timeline).toBe('the run is over')
    expect(started).toHaveLength(1)
  })

  it('R12.2 an instance that was stopped goes on before the run ends', async () => {
    const leaders = [await start('a-1-0'), await start('a-1-1')]
    const { actions } = actionsOn(leaders.map(pidOf))
    const ended = actions.hang(60_000).catch(() => {})
    await until(() => expect(actions.faults).toHaveLength(1))
    await actions.close()
    for (const leader of leaders) expect(await table.row(pidOf(leader))).toMatchObject({ stopped: false })
    await ended
  })
})

describe('the scenario convert', () => {
  const timeline = (actions: Actions) => SCENARIOS.convert?.timeline(actions, { rate: 1, durationMs: 1 })

  it('R5.0 leaves an app alone that gave up the pre-installed libraries, which it would have again afterwards', async () => {
    const { api, started } = apiOfOne()
    const { actions } = actionsOn([], api)
    vi.spyOn(actions, 'warm').mockResolvedValue()
    await timeline(actions)
    expect(started).toEqual([])
    expect(actions.skipped).toEqual([expect.stringContaining('pre-installed libraries')])
  })

  it('R5.1 R5.3 converts one that has them', async () => {
    const { api, started, open } = apiOfOne({ effective_compatibility_flags: ['PREINSTALLED_PACKAGES_LEGACY'] })
    open.state = 'SUCCEEDED'
    const { actions } = actionsOn([], api)
    vi.spyOn(actions, 'warm').mockResolvedValue()
    vi.spyOn(actions, 'pause').mockResolvedValue()
    await timeline(actions)
    expect(started).toHaveLength(4)
    expect(actions.skipped).toEqual([])
  })
})
