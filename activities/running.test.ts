import { MockActivityEnvironment } from '@temporalio/testing'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { routerReportSchema } from '../domain/route-table.ts'
import { openTestStore, type TestStore } from '../store/testing.ts'
import { createRunningActivities } from './running.ts'

const instance = { id: 'hello-1-0', slot: 0 }

let store: TestStore
let elapsed: number
beforeEach(async () => {
  store = await openTestStore()
  elapsed = 0
  await store.apps.create({ name: 'hello', mode: 'scaled', instances: 1, creator: 'ada' })
  await store.admissions.request({ id: 'op-1', app: 'hello', startedBy: 'ada', change: { type: 'stop' } })
  await report('a', await store.routes.version(), 1)
})

const report = (router: string, version: number, inFlight: number) =>
  store.routers.report(
    routerReportSchema.parse({
      router,
      incarnation: '1',
      inventory: store.inventory,
      version,
      inFlight: { [instance.id]: inFlight },
      processes: 1,
      address: 'http://127.0.0.1:8080',
    }),
  )

/** A drain that tells how often it has looked, and what it ended with. */
function startDrain(version: number) {
  let looks = 0
  const inFlight: TestStore['routers']['inFlight'] = async (...args) => {
    const found = await store.routers.inFlight(...args)
    looks++
    return found
  }
  const { drainInstance } = createRunningActivities({
    store: { ...store, routers: { inFlight } as TestStore['routers'] },
    instances: {} as never,
    elapsed: () => elapsed,
  })
  const ended: string[] = []
  const done = new MockActivityEnvironment().run(async () => {
    ended.push((await drainInstance('op-1', instance, { version, timeoutMs: 30_000 })).result)
  })
  return {
    ended,
    done,
    /** It has looked at what there is now. Twice: a look may have been under way, and what it led to follows. */
    looked: async () => {
      for (const _ of [1, 2]) {
        const before = looks
        await store.events.add({ app: 'hello', kind: 'app', message: 'something' })
        await vi.waitFor(() => expect(looks + ended.length).toBeGreaterThan(before), { timeout: 5_000 })
      }
    },
  }
}
afterEach(() => store.dispose())

it.each([-3_600_000, 3_600_000])(
  'R6.2 R13.8 a drain lasts as long as it may, also when the clock is set by %d ms meanwhile',
  async (ms) => {
    const { ended, done, looked } = startDrain(await store.routes.version())
    await looked()
    store.clock.jump(ms)
    elapsed = 29_999
    await looked()
    expect(ended).toEqual([])
    elapsed = 30_000
    await looked()
    await done
    expect(ended).toEqual(['timedOut'])
  },
)

it('R6.2 a drain does not end by the report of a router that has an older table, which may send more', async () => {
  const first = await store.routes.version()
  await report('b', first, 0)
  await store.apps.create({ name: 'other', mode: 'scaled', instances: 1, creator: 'ada' })
  const version = await store.routes.version()
  expect(version).toBeGreaterThan(first)
  await report('a', first, 0)
  const { ended, done, looked } = startDrain(version)
  await looked()
  await report('a', version, 0)
  await looked()
  expect(ended).toEqual([])
  await report('b', version, 0)
  await looked()
  await done
  expect(ended).toEqual(['drained'])
})
