import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type RouterReport, routerReportSchema } from '../domain/route-table.ts'
import { admitDeploy, openTestStore, startRival, type TestStore } from './testing.ts'

let store: TestStore
beforeEach(async () => {
  store = await openTestStore({ routerLeaseMs: 10_000, routerLeaseMarginMs: 2_000 })
  await store.routers.signControlPlane({ starting: true })
})
afterEach(() => store.dispose())

const change = () =>
  store.apps.create({
    name: `app-${Math.random().toString(36).slice(2, 10)}`,
    mode: 'standard',
    instances: 1,
    creator: 'a',
  })

async function report(router: string, version: number, more: Partial<RouterReport> = {}) {
  const words = {
    router,
    incarnation: '1',
    inventory: store.inventory,
    version,
    inFlight: {},
    processes: 1,
    address: 'http://127.0.0.1:8080',
    ...more,
  }
  return store.routers.report(routerReportSchema.parse(words))
}

/** Time passes while the control plane lives. */
async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 1_000) {
    store.clock.now += Math.min(left, 1_000)
    await store.routers.signControlPlane({ starting: false })
  }
}

describe('acknowledgements', () => {
  it('wait for a router that counts and lags, and for no other', async () => {
    const first = await store.routes.version()
    expect(await report('a', first)).toMatchObject({ counted: true })
    await change()
    const second = await store.routes.version()
    expect(await report('b', first)).toMatchObject({ counted: false, version: second })
    expect(await store.routers.acknowledged(second)).toMatchObject({ complete: false, waitingFor: ['a'] })
    await report('a', second)
    expect(await store.routers.acknowledged(second)).toMatchObject({ complete: true })
  })

  it('R12.10 cease to wait for a router when its lease and the margin have passed, not before', async () => {
    await report('a', await store.routes.version())
    await change()
    const version = await store.routes.version()
    await pass(11_900)
    expect((await store.routers.acknowledged(version)).waitingFor).toEqual(['a'])
    await pass(200)
    expect((await store.routers.acknowledged(version)).complete).toBe(true)
    // Back again with its old table: it synchronises before it counts.
    expect(await report('a', version - 1)).toMatchObject({ counted: false })
    expect(await report('a', version)).toMatchObject({ counted: true })
  })

  it('R12.4 go on waiting while the control plane is down, and count leases from its start', async () => {
    await report('a', await store.routes.version())
    await change()
    const version = await store.routes.version()
    store.clock.now += 60_000
    expect(await store.routers.acknowledged(version)).toMatchObject({ complete: false, controlPlaneDown: true })
    await store.routers.signControlPlane({ starting: true })
    expect(await store.routers.acknowledged(version)).toMatchObject({ complete: false, waitingFor: ['a'] })
    await pass(12_100)
    expect((await store.routers.acknowledged(version)).complete).toBe(true)
  })

  it('R12.3 wait for a router that was started anew with its old table, as long as the lease of its predecessor lasts', async () => {
    const first = await store.routes.version()
    await report('a', first)
    await change()
    const second = await store.routes.version()
    expect(await report('a', first, { incarnation: '2' })).toMatchObject({ counted: false })
    expect((await store.routers.acknowledged(second)).waitingFor).toEqual(['a'])
    await pass(8_000)
    await report('a', first, { incarnation: '2' })
    await pass(4_100)
    expect((await store.routers.acknowledged(second)).complete).toBe(true)
    expect(await report('a', second, { incarnation: '2' })).toMatchObject({ counted: true })
  })

  it('R12.10 do not wait for a router that has signed off, and count it again when it is back with the current table', async () => {
    const first = await store.routes.version()
    await report('a', first, { inFlight: { x: 2 } })
    await report('a', first, { leaving: true })
    await change()
    const second = await store.routes.version()
    expect(await store.routers.acknowledged(second)).toMatchObject({ complete: true, waitingFor: [] })
    expect(await store.routers.list()).toMatchObject([
      { id: 'a', away: true, counted: false, version: first, inFlight: {} },
    ])
    expect(await report('a', first, { incarnation: '2' })).toMatchObject({ counted: false })
    expect(await store.routers.acknowledged(second)).toMatchObject({ complete: true })
    expect(await report('a', second, { incarnation: '2' })).toMatchObject({ counted: true })
    expect(await store.routers.list()).toMatchObject([{ away: false, counted: true }])
  })

  it('R13.8 do not wait for a router that says that it cannot apply the current table, which no time would change', async () => {
    const first = await store.routes.version()
    await report('a', first)
    await report('b', first)
    await change()
    const second = await store.routes.version()
    const refused = { version: second, reason: 'protocol: is of a newer program' }
    expect(await report('a', first, { refused })).toMatchObject({ counted: false })
    expect((await store.routers.acknowledged(second)).waitingFor).toEqual(['b'])
    await report('b', second)
    expect(await store.routers.acknowledged(second)).toMatchObject({ complete: true })
    expect(await store.routers.list()).toMatchObject([{ counted: false, version: first, refused }, { refused: null }])
    // It counts as soon as it has one that it can apply.
    expect(await report('a', second)).toMatchObject({ counted: true })
  })

  it('tell of an instance in flight only what was counted under the table that drains it', async () => {
    const first = await store.routes.version()
    await report('a', first, { inFlight: { x: 0 } })
    await change()
    const second = await store.routes.version()
    expect(await store.routers.inFlight('x', second)).toBeNull()
    await report('a', second, { inFlight: { x: 3 } })
    expect(await store.routers.inFlight('x', second)).toBe(3)
    await report('a', second)
    expect(await store.routers.inFlight('x', second)).toBe(0)
  })

  it('R6.2 do not tell of an instance in flight while one of two routers that count has an older table', async () => {
    const first = await store.routes.version()
    for (const router of ['a', 'b']) await report(router, first)
    await change()
    const second = await store.routes.version()
    for (const [ahead, behind] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      await report(behind, second - 1)
      await report(ahead, second, { inFlight: { x: 1 } })
      expect(await store.routers.inFlight('x', second)).toBeNull()
      await report(behind, second, { inFlight: { x: 2, y: 4 } })
      expect(await store.routers.inFlight('x', second)).toBe(3)
    }
  })
})

describe('silent instances', () => {
  const silent = async () => [...(await store.routers.silent())]

  it('R12.2 are known since one router has said so without a break, and as long as any says so', async () => {
    const version = await store.routes.version()
    await report('a', version, { silent: ['x', 'constructor'] })
    const first = store.clock.now
    await pass(2_000)
    await report('a', version, { silent: ['x', 'y'] })
    await report('b', version, { silent: ['x'] })
    expect(await silent()).toEqual([
      ['x', first],
      ['y', first + 2_000],
    ])
    await report('a', version)
    expect(await silent()).toEqual([['x', first + 2_000]])
    await pass(1_000)
    await report('a', version, { silent: ['x'] })
    await report('b', version)
    expect(await silent()).toEqual([['x', first + 3_000]])
  })

  it('R12.2 are not known any more from a router that is out of touch, nor from what it was before its restart', async () => {
    const version = await store.routes.version()
    await report('a', version, { silent: ['x'] })
    await pass(11_999)
    expect(await silent()).toHaveLength(1)
    await pass(1)
    expect(await silent()).toEqual([])
    await report('a', version, { silent: ['x'], incarnation: '2' })
    expect(await silent()).toEqual([['x', store.clock.now]])
  })
})

describe('R13.8 a clock that is set', () => {
  for (const [words, ms] of [
    ['an hour back', -3_600_000],
    ['an hour ahead', 3_600_000],
  ] as const) {
    it(`${words} ends no lease before its time, and makes none longer`, async () => {
      await report('a', await store.routes.version())
      await change()
      const version = await store.routes.version()
      store.clock.jump(ms)
      await pass(11_000)
      expect(await store.routers.acknowledged(version)).toMatchObject({ waitingFor: ['a'], controlPlaneDown: false })
      await pass(2_000)
      expect((await store.routers.acknowledged(version)).complete).toBe(true)
    })

    it(`${words} does not keep a port longer from use than something foreign on it would`, async () => {
      const port = await store.ports.acquire('a')
      await store.ports.replace('a', port)
      expect(await store.ports.acquire('b')).not.toBe(port)
      store.clock.jump(ms)
      store.clock.now += 61_000
      expect(await store.ports.acquire('c')).toBe(port)
    })
  }

  it('does not end the leases of routers that a control plane could not hear while it stood still itself', async () => {
    await report('a', await store.routes.version())
    await change()
    const version = await store.routes.version()
    store.clock.now += 60_000
    await pass(11_000)
    expect((await store.routers.acknowledged(version)).waitingFor).toEqual(['a'])
    await pass(2_000)
    expect((await store.routers.acknowledged(version)).complete).toBe(true)
  })
})

it('R12.10 a router whose report waits for the write lock is not silent', async () => {
  const rival = await startRival(store.home)
  try {
    await report('a', await store.routes.version())
    await change()
    const version = await store.routes.version()
    await rival.standStill()
    const waiting: Array<Promise<unknown>> = []
    for (let s = 0; s < 14; s++) {
      if (s % 2 === 0) waiting.push(report('a', version - 1))
      store.clock.now += 1_000
      waiting.push(store.routers.signControlPlane({ starting: false }))
    }
    await rival.goOn()
    await Promise.all(waiting)
    expect((await store.routers.acknowledged(version)).waitingFor).toEqual(['a'])
  } finally {
    await rival.stop()
  }
})

describe('ports', () => {
  /** The port of an app that the router `stale` has in its table, and a stop of that app, admitted. */
  async function servedApp() {
    const plan = await admitDeploy(store, 'op-00000001', { instances: 1 })
    const id = plan.add[0]?.id as string
    const port = await store.ports.acquire(id)
    expect(await store.ports.acquire(id)).toBe(port)
    await store.instances.observe(id, { observed: 'running', address: `127.0.0.1:${port}` })
    await store.transitions.commit(plan)
    await store.transitions.finish(plan)
    await report('stale', await store.routes.version())

    const stop = await store.admissions.admit({
      id: 'op-00000002',
      app: 'hello',
      type: 'stop',
      workflowId: 'w',
      runId: 'r',
      byHand: { startedBy: 'ada', change: { type: 'stop' } },
    })
    return { id, port, stop }
  }

  it('rest until every router that is registered has a table without them', async () => {
    const { id, port, stop } = await servedApp()
    await store.transitions.commit(stop)
    await store.ports.release(id)
    expect(await store.ports.acquire('other-1')).not.toBe(port)
    await store.transitions.finish(stop)
    // The lease of the router has lapsed long ago, but it may still hold its old table.
    await pass(60_000)
    expect(await store.ports.acquire('other-2')).not.toBe(port)
    const before = (await store.routes.version()) - 1
    expect(await store.ports.heldBackBy(before)).toBe(1)
    // Nor when it has signed off: it will begin its next life with that table.
    await report('stale', before, { leaving: true })
    expect(await store.ports.acquire('other-3')).not.toBe(port)
    await report('stale', before, { incarnation: '2' })
    expect(await store.ports.acquire('other-4')).not.toBe(port)
    await report('stale', await store.routes.version(), { incarnation: '2' })
    expect(await store.ports.heldBackBy(await store.routes.version())).toBe(0)
    expect(await store.ports.acquire('other-5')).toBe(port)
  })

  it.each([
    ['the first', 'a', 'z'],
    ['the last', 'z', 'a'],
  ])(
    'R12.10 are not free when only %s of two routers has acknowledged the table without them',
    async (_, ahead, behind) => {
      for (const router of ['a', 'z']) await report(router, await store.routes.version())
      const { id, port, stop } = await servedApp()
      for (const router of ['a', 'z']) await report(router, await store.routes.version())
      await store.routers.remove('stale')
      await store.transitions.commit(stop)
      await store.ports.release(id)
      await store.transitions.finish(stop)
      await report(ahead, await store.routes.version())
      expect(await store.ports.acquire('other-1')).not.toBe(port)
      await report(behind, await store.routes.version())
      expect(await store.ports.acquire('other-2')).toBe(port)
    },
  )

  it('R12.10 from which something foreign drove an instance are not free before every router knows its new address', async () => {
    const { id, port } = await servedApp()
    await report('stale', await store.routes.version())
    const next = await store.ports.replace(id, port)
    store.clock.now += 61_000
    expect(await store.ports.acquire('other-1')).not.toBe(port)
    await store.instances.observe(id, { observed: 'running', address: `127.0.0.1:${next}` })
    expect(await store.ports.acquire('other-2')).not.toBe(port)
    expect(await store.ports.heldBackBy(await store.routes.version())).toBe(0)
    await report('stale', await store.routes.version())
    expect(await store.ports.acquire('other-3')).toBe(port)
  })

  it('that only a router still knows that will not come back are free when an operator has removed it', async () => {
    const { id, port, stop } = await servedApp()
    await report('stale', await store.routes.version(), { leaving: true })
    await store.transitions.commit(stop)
    await store.ports.release(id)
    await store.transitions.finish(stop)
    store.clock.now += 24 * 3_600_000
    await pass(1_000)
    expect(await store.ports.acquire('other-1')).not.toBe(port)
    expect(await store.routers.remove('stale')).toBe(true)
    expect(await store.ports.acquire('other-2')).toBe(port)
  })

  it('of an instance that no table ever had are free at once', async () => {
    const port = await store.ports.acquire('standby')
    await store.ports.release('standby')
    expect(await store.ports.acquire('next')).toBe(port)
  })

  it('of an instance that is started again after a stop are its own again, and nobody else’s', async () => {
    const port = await store.ports.acquire('a')
    await store.ports.release('a')
    expect(await store.ports.acquire('a')).toBe(port)
    expect(await store.ports.acquire('b')).not.toBe(port)
  })

  it('R12.8 are replaced where something foreign listens, and run out with a clear word', async () => {
    const small = await openTestStore({ instancePorts: { first: 20_000, last: 20_001 } })
    try {
      const port = await small.ports.acquire('a')
      expect(await small.ports.replace('a', port)).not.toBe(port)
      await expect(small.ports.acquire('b')).rejects.toMatchObject({ code: 'PortUnavailable' })
    } finally {
      await small.dispose()
    }
  })
})
