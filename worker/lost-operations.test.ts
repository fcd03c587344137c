import { WorkflowNotFoundError } from '@temporalio/client'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openTestStore, type TestStore } from '../store/testing.ts'
import { createLogger } from './logger.ts'
import { type LostOperationsDeps, repairLostOperations } from './lost-operations.ts'

let store: TestStore
let deps: LostOperationsDeps
let elapsed: number
let started: string[]
beforeEach(async () => {
  store = await openTestStore()
  await store.apps.create({ name: 'hello', mode: 'scaled', instances: 1, creator: 'ada' })
  elapsed = 0
  started = []
  const workflow = {
    getHandle: () => ({
      describe: async () => {
        throw new WorkflowNotFoundError('there is none', 'app/hello', undefined)
      },
    }),
    start: async (_type: string, { workflowId }: { workflowId: string }) => void started.push(workflowId),
  }
  deps = {
    store,
    client: { workflow } as never,
    logger: createLogger('silent'),
    elapsed: () => elapsed,
    requested: new Map(),
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
