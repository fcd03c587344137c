import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openTestStore, type TestStore } from './testing.ts'

const HOUR = 3_600_000

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
  await store.apps.create({ name: 'hello', mode: 'scaled', instances: 1, computeSize: 'LARGE', creator: 'ada' })
})
afterEach(() => store.dispose())

/** As an admission writes it down. */
function instance(id: string, size = 'LARGE'): string {
  store.raw
    .prepare(
      `insert into instances (id, app, slot, deployment, operation, mode, compute_size, desired, role, observed,
         crashes, log_lines, created_at) values (?, 'hello', 0, 'd', 'o', 'scaled', ?, 'running', 'standby', 'pending',
         0, '[]', 0)`,
    )
    .run(id, size)
  return id
}

/** Time passes as it does while a worker counts it. */
async function pass(ms: number): Promise<void> {
  store.clock.now += ms
  await store.meter()
}
const hours = async () => (await store.workspace.use()).instanceHours

describe('R1.3 instance-hours', () => {
  it('count each instance from its start to its end, and each by its size', async () => {
    const [a, b] = [instance('a'), instance('b', 'MEDIUM')]
    await store.instances.observe(a, { observed: 'starting' })
    await store.instances.observe(a, { observed: 'running', startedAt: store.clock.now })
    await pass(HOUR)
    await store.instances.observe(b, { observed: 'starting' })
    await pass(HOUR)
    await store.instances.observe(a, { observed: 'crashed' })
    await pass(HOUR)
    expect(await store.workspace.use()).toMatchObject({ instanceHours: 4, vcpuHours: 2 * 4 + 2 * 2 })
  })

  it('go on over a worker that was away, for an instance that was found alive', async () => {
    await store.instances.observe(instance('a'), { observed: 'running' })
    await pass(HOUR)
    store.clock.now += HOUR
    await store.instances.observe('a', { observed: 'running' })
    await store.meter()
    expect(await hours()).toBe(2)
  })

  it('do not count a night in which the platform was down and the instance with it', async () => {
    await store.instances.observe(instance('a'), { observed: 'running' })
    await pass(HOUR)
    store.clock.now += 10 * HOUR
    await store.instances.observe('a', { observed: 'starting' })
    await pass(HOUR)
    expect(await hours()).toBeCloseTo(2, 1)
  })

  it('stay when the instance and its row are gone', async () => {
    await store.instances.observe(instance('a'), { observed: 'running' })
    await pass(HOUR)
    await store.instances.retire('a')
    await store.instances.forget('a')
    expect(await store.instances.get('a')).toBeNull()
    await pass(HOUR)
    expect(await hours()).toBe(1)
  })

  it('grow while one looks, without waiting to be counted', async () => {
    await store.instances.observe(instance('a'), { observed: 'running' })
    store.clock.now += 3_600
    expect(await hours()).toBeCloseTo(0.001)
  })

  it.each([
    ['an hour ahead', HOUR],
    ['an hour back', -HOUR],
  ])('R13.8 a clock that is set %s while a worker counts adds nothing to them', async (_words, ms) => {
    await store.instances.observe(instance('a'), { observed: 'running', startedAt: store.clock.now })
    await pass(10_000)
    const before = await hours()
    store.clock.jump(ms)
    await pass(10_000)
    await pass(10_000)
    expect((await hours()) - before).toBeLessThanOrEqual(20_000 / HOUR + 1e-9)
    expect((await hours()) - before).toBeGreaterThanOrEqual(10_000 / HOUR - 1e-9)
  })
})
