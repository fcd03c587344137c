/** A store in a directory of its own, for tests: real SQLite, a clock that stands still. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Plan } from '../domain/plan.ts'
import type { AppMode } from '../domain/states.ts'
import type { Request } from './admissions.ts'
import type { NewDeployment } from './deployments.ts'
import { openStore, type Store, type StoreOptions } from './store.ts'

export type TestStore = Store & {
  home: string
  /** `now` passes with all its time; `jump` sets the clock, and no time passes. */
  clock: { now: number; jump: (ms: number) => void }
  /** For what only tests do to the inventory. */
  raw: DatabaseSync
  dispose: () => Promise<void>
}

export async function openTestStore(options: Partial<StoreOptions> = {}): Promise<TestStore> {
  const home = mkdtempSync(join(tmpdir(), 'coppice-store-'))
  let jumped = 0
  const clock = {
    now: 1_700_000_000_000,
    jump: (ms: number) => {
      clock.now += ms
      jumped += ms
    },
  }
  const settings: StoreOptions = {
    home,
    now: () => clock.now,
    elapsed: () => clock.now - jumped,
    random: () => 0,
    workspace: { horizontalScaling: true },
    ...options,
  }
  const store = await openStore(settings)
  const raw = new DatabaseSync(join(home, 'inventory.db'))
  return Object.assign(store, {
    home,
    raw,
    clock,
    dispose: async () => {
      raw.close()
      await store.close()
      rmSync(home, { recursive: true, force: true })
    },
  })
}

/** A deployment that somebody has started by hand and that is admitted. */
export function admitDeploy(
  { admissions }: Pick<Store, 'admissions'>,
  id: string,
  { instances, ...deployment }: Partial<NewDeployment> & { instances?: number } = {},
): Promise<Plan> {
  return admissions.admit({
    id,
    app: 'hello',
    type: 'deploy',
    workflowId: 'w',
    runId: 'r',
    byHand: {
      startedBy: 'ada',
      change: { type: 'deploy' },
      ...(instances !== undefined && { instances }),
      deployment: {
        sourceCodePath: 'x',
        source: null,
        command: null,
        env: [],
        health: { path: null, timeoutMs: 1 },
        creator: 'ada',
        ...deployment,
      },
    },
  })
}

/** A second process on the same inventory, which races with this one or stands in its way. */
export async function startRival(home: string) {
  const child = fork(join(import.meta.dirname, 'testing-rival.ts'), [home])
  await once(child, 'message')
  const ask = async (message: object): Promise<string> => {
    const ended = new AbortController()
    const onExit = () => ended.abort(new Error('the rival has ended'))
    child.once('exit', onExit)
    const answer = once(child, 'message', { signal: ended.signal })
    child.send(message)
    return (await answer.finally(() => child.off('exit', onExit)))[0] as string
  }
  return {
    /** `won`, or the code of the error. */
    request: (request: Request) => ask({ request }),
    create: (name: string, mode: AppMode = 'standard') => ask({ create: name, mode }),
    /** Takes the write lock and stands still with it, as a process that is stopped in the middle of a transaction. */
    standStill: async () => {
      await ask({ sql: `begin immediate; insert into meta (key, value) values ('half', 'done')` })
      child.kill('SIGSTOP')
    },
    /** Goes on, and takes back what it had begun. */
    goOn: async () => {
      child.kill('SIGCONT')
      await ask({ sql: 'rollback' })
    },
    stop: async () => {
      // After a test that failed while it stood still.
      child.kill('SIGCONT')
      child.disconnect()
      await once(child, 'exit')
    },
  }
}
