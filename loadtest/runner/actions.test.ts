import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { seeded } from '../k6/random.ts'
import { Actions } from './actions.ts'
import type { InstanceAnswer, PlatformApi } from './api.ts'
import type { Observer } from './observer.ts'
import type { Target } from './target.ts'

const table = systemProcessTable()
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
      const over = setTimeout(() => abort.abort(), 1_000)
      const rows = async () => Promise.all(foreign.map(async (child) => table.row(pidOf(child))))
      const done = actions[kind](300).catch(() => {})
      for (const row of await rows()) expect(row).toMatchObject({ stopped: false, zombie: false })
      await done
      clearTimeout(over)
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
    await vi.waitFor(() => expect(actions.faults).toHaveLength(1))
    const slot = actions.faults[0]?.slot as number
    const groups = [leaders[slot], apart[slot]].map((child) => pidOf(child as ChildProcess))
    const states = async () =>
      (await table.rows()).filter(({ group }) => groups.includes(group)).map((row) => row.stopped)
    await vi.waitFor(async () => expect(await states()).toEqual(Array(slot === 0 ? 4 : 3).fill(true)))
    abort.abort()
    expect(await ended).toBe('AbortError')
    await vi.waitFor(async () => expect(await states()).toEqual(Array(slot === 0 ? 4 : 3).fill(false)))
  })

  it('R12.1 kills the whole instance', async () => {
    const leaders = [await start('a-1-0', 'sleep 60 & wait'), await start('a-1-1', 'sleep 60 & wait')]
    const { actions, abort } = actionsOn(leaders.map(pidOf))
    const ended = actions.kill().catch((error: Error) => error.name)
    await vi.waitFor(() => expect(actions.faults).toHaveLength(1))
    const victim = leaders[actions.faults[0]?.slot as number] as ChildProcess
    await vi.waitFor(async () => {
      const left = (await table.rows()).filter(({ group, zombie }) => group === pidOf(victim) && !zombie)
      expect(left).toEqual([])
    })
    abort.abort()
    expect(await ended).toBe('AbortError')
  })
})
