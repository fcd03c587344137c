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
  await store.routers.report(
    routerReportSchema.parse({
      router: 'a',
      incarnation: '1',
      inventory: store.inventory,
      version: await store.routes.version(),
      inFlight: { [instance.id]: 1 },
      processes: 1,
      address: 'http://127.0.0.1:8080',
    }),
  )
})
afterEach(() => store.dispose())

it.each([-3_600_000, 3_600_000])(
  'R6.2 R13.8 a drain lasts as long as it may, also when the clock is set by %d ms meanwhile',
  async (ms) => {
    let looks = 0
    const inFlight: TestStore['routers']['inFlight'] = async (...args) => {
      looks++
      return store.routers.inFlight(...args)
    }
    const { drainInstance } = createRunningActivities({
      store: { ...store, routers: { inFlight } as TestStore['routers'] },
      instances: {} as never,
      elapsed: () => elapsed,
    })
    const version = await store.routes.version()
    const ended: string[] = []
    const drain = new MockActivityEnvironment().run(async () => {
      ended.push((await drainInstance('op-1', instance, { version, timeoutMs: 30_000 })).result)
    })
    const looked = async () => {
      const before = looks
      await store.events.add({ app: 'hello', kind: 'app', message: 'something' })
      await vi.waitFor(() => expect(looks).toBeGreaterThan(before), { timeout: 5_000 })
    }
    await vi.waitFor(() => expect(looks).toBe(1), { timeout: 5_000 })
    store.clock.jump(ms)
    elapsed = 29_999
    await looked()
    await looked()
    expect(ended).toEqual([])
    elapsed = 30_000
    await looked()
    await drain
    expect(ended).toEqual(['timedOut'])
  },
)
