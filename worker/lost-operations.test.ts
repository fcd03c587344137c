import { WorkflowNotFoundError } from '@temporalio/client'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { LockHolder } from '../domain/app-lock.ts'
import { openTestStore, type TestStore } from '../store/testing.ts'
import { createLogger } from './logger.ts'
import { type LostOperationsDeps, REQUEST_GRACE_MS, repairLostOperations } from './lost-operations.ts'

let store: TestStore
let deps: LostOperationsDeps
let elapsed: number
let started: string[]
let holder: Partial<LockHolder> | null
/** Ids of workflows at which nobody can look. */
let broken: Set<string>
let errors: Array<{ error: string }>
beforeEach(async () => {
  store = await openTestStore()
  await store.apps.create({ name: 'hello', mode: 'scaled', instances: 1, creator: 'ada' })
  elapsed = 0
  started = []
  holder = null
  broken = new Set()
  errors = []
  const workflow = {
    getHandle: (id: string) => ({
      describe: async () => {
        if (broken.has(id)) throw new Error('cannot decode')
        if (holder !== null) return { workflowId: 'app/hello', status: { name: 'RUNNING' }, ...holder }
        throw new WorkflowNotFoundError('there is none', 'app/hello', undefined)
      },
    }),
    start: async (_type: string, { workflowId }: { workflowId: string }) => void started.push(workflowId),
  }
  deps = {
    store,
    client: { workflow } as never,
    logger: { ...createLogger('silent'), error: (what: { error: string }) => void errors.push(what) } as never,
    elapsed: () => elapsed,
    requested: new Map(),
    told: new Set(),
    temporal: { address: '127.0.0.1:7233', namespace: 'default' },
  }
})
afterEach(() => store.dispose())

describe('R10.6 an operation that was requested and has no workflow', () => {
  it.each([
    ['an hour ahead', 3_600_000],
    ['an hour back', -3_600_000],
    ['not at all', 0],
  ])('R13.8 is given its 10 s and no more, when the clock is set %s', async (_words, ms) => {
    await store.admissions.request({ id: 'op-1', app: 'hello', startedBy: 'ada', change: { type: 'stop' } })
    store.clock.jump(ms)
    for (const at of [0, 3_000, 9_900]) {
      elapsed = at
      expect(await repairLostOperations(deps)).toEqual([])
    }
    elapsed = 10_000
    expect(await repairLostOperations(deps)).toEqual(['hello'])
    expect(started).toEqual(['app/hello'])
    await store.operations.refuse('op-1', { code: 'Internal', message: 'no' })
    expect(await repairLostOperations(deps)).toEqual([])
    expect(deps.requested.size).toBe(0)
  })
})

describe('R10.6 a foreign workflow on the id of an operation that lost its own', () => {
  const foreign = { runId: 'r-9', type: 'nightly', taskQueue: 'reports', startTime: new Date(), memo: {} }
  beforeEach(async () => {
    await store.admissions.request({ id: 'op-1', app: 'hello', startedBy: 'ada', change: { type: 'stop' } })
    await store.operations.setRun('op-1', { workflowId: 'app/hello', runId: 'r-1' })
    elapsed = 20_000
  })
  const looks = async () => {
    const repaired: string[][] = []
    for (const at of [20_000, 40_000, 60_000]) {
      elapsed = at
      repaired.push(await repairLostOperations(deps))
    }
    return repaired
  }

  it('is told once, with what to do, and the repair comes when it is gone', async () => {
    holder = foreign
    expect(await looks()).toEqual([[], [], []])
    expect(errors).toEqual([{ app: 'hello', operation: 'op-1', error: expect.stringContaining('--run-id r-9') }])
    holder = null
    expect(await looks()).toContainEqual(['hello'])
  })

  it('that cannot be looked at does not keep other operations from being repaired', async () => {
    await store.apps.create({ name: 'later', mode: 'scaled', instances: 1, creator: 'ada' })
    await store.admissions.request({ id: 'op-2', app: 'later', startedBy: 'ada', change: { type: 'stop' } })
    await store.operations.setRun('op-2', { workflowId: 'app/later', runId: 'r-2' })
    broken.add('app/hello')
    expect(await repairLostOperations(deps)).toEqual([])
    elapsed += REQUEST_GRACE_MS
    await expect(repairLostOperations(deps)).rejects.toThrow('cannot decode')
    expect(started).toEqual(['app/later'])
  })

  it('R10.3 is not told of an operation that has its own workflow', async () => {
    holder = { ...foreign, runId: 'r-1', taskQueue: 'coppice', type: 'stop' }
    expect(await looks()).toEqual([[], [], []])
    expect(errors).toEqual([])
  })
})
