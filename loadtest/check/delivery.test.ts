import { describe, expect, it } from 'vitest'
import { ejectedWhileBusy, executedTwice, hiddenRetries, lost, slowFailovers } from './delivery.ts'
import { attempt, T0, world } from './testing.ts'
import { type Fault, mayBeDown } from './world.ts'

const kill: Fault = { kind: 'kill', instance: 'a-1-1', slot: 1, at: T0 + 1_000, until: T0 + 4_000 }
const none = { executions: [], passages: [] }
const failed = { status: 0, slot: null, error: 'EOF' }

describe('lost', () => {
  it('is any request without a good answer while nothing happens', () => {
    const history = [attempt(), attempt({ ...failed, method: 'POST', body: true }), attempt({ status: 503 })]
    expect(lost(history, none, world()).map(({ message }) => message)).toEqual([
      'POST got no answer (EOF)',
      'GET got status 503',
    ])
  })

  it('R12.1 excuses what must not be repeated and was in flight on the victim, and nothing else', () => {
    const inFlight = { at: 900, took: 150, ...failed }
    const onVictim = attempt({ ...inFlight, method: 'POST', body: true })
    const elsewhere = attempt({ ...inFlight, method: 'POST', body: true })
    const repeatable = attempt({ ...inFlight })
    const later = attempt({ at: 2_000, ...failed, method: 'POST', body: true })
    const executions = [
      { id: onVictim.id, instance: 'a-1-1', at: T0 + 901 },
      { id: elsewhere.id, instance: 'a-1-2', at: T0 + 901 },
    ]
    const found = lost(
      [onVictim, elsewhere, repeatable, later],
      { executions, passages: [] },
      world({ faults: [kill] }),
    )
    expect(found.map(({ attempt }) => attempt?.id)).toEqual([elsewhere.id, repeatable.id, later.id])
  })

  it('R12.1 excuses what may be repeated only if its answer had begun, on the victim', () => {
    const [begun, waiting, elsewhere] = [1, 2, 3].map(() => attempt({ at: 900, took: 150, ...failed })) as [
      ReturnType<typeof attempt>,
      ReturnType<typeof attempt>,
      ReturnType<typeof attempt>,
    ]
    const on = (id: string, instance: string) => ({ id, instance, at: T0 + 901 })
    const executions = [on(begun.id, 'a-1-1'), on(waiting.id, 'a-1-1'), on(elsewhere.id, 'a-1-2')]
    const passage = (id: string, status: number) => ({ id, instance: null, status, attempts: 1, clientGone: false })
    const passages = [passage(begun.id, 200), passage(waiting.id, 502), passage(elsewhere.id, 200)]
    const found = lost([begun, waiting, elsewhere], { executions, passages }, world({ faults: [kill] }))
    expect(found.map(({ attempt }) => attempt?.id)).toEqual([waiting.id, elsewhere.id])
  })

  it('R12.2 excuses what must not be repeated and reached a hung instance before its ejection, and nothing later', () => {
    const hang: Fault = { ...kill, kind: 'hang', until: T0 + 20_000 }
    const post = (at: number) => attempt({ at, took: 5_000, status: 502, slot: null, method: 'POST', body: true })
    const [early, elsewhere, late] = [post(3_000), post(3_000), post(6_000)]
    const get = attempt({ at: 3_000, took: 5_000, status: 502, slot: null })
    const passages = [early, elsewhere, late, get].map(({ id }) => ({
      id,
      instance: id === elsewhere.id ? 'a-1-2' : 'a-1-1',
      status: 502,
      attempts: 1,
      clientGone: false,
    }))
    const found = lost([early, elsewhere, late, get], { executions: [], passages }, world({ faults: [hang] }))
    expect(found.map(({ attempt }) => attempt?.id)).toEqual([elsewhere.id, late.id, get.id])
  })

  it('R12.1 R12.2 excuses nothing that was at no instance: what the router refused near a fault is lost for nothing', () => {
    const hang: Fault = { ...kill, kind: 'hang', until: T0 + 20_000 }
    const post = (at: number, status: number) =>
      attempt({ at, took: 150, status, slot: null, method: 'POST', body: true })
    const passage = (id: string, status: number, instance: string | null) => ({
      id,
      instance,
      status,
      attempts: instance === null ? 0 : 1,
      clientGone: false,
    })
    const [refused, afterConnect, unseen, inFlight] = [post(900, 503), post(900, 503), post(900, 0), post(900, 502)]
    const passages = [
      passage(refused.id, 503, null),
      // The connect was refused, which is no reason not to ask another one.
      passage(afterConnect.id, 503, 'a-1-1'),
      passage(inFlight.id, 502, 'a-1-1'),
    ]
    const all = [refused, afterConnect, unseen, inFlight]
    for (const fault of [kill, hang]) {
      const found = lost(all, { executions: [], passages }, world({ faults: [fault] }))
      expect(found.map(({ attempt }) => attempt?.id)).toEqual([refused.id, afterConnect.id, unseen.id])
    }
    const late = post(4_000, 503)
    const found = lost([late], { executions: [], passages: [passage(late.id, 503, null)] }, world({ faults: [hang] }))
    expect(found).toHaveLength(1)
  })

  it('R12.1 of an app that nobody looks into excuses what may have been on the victim, and nothing that was refused', () => {
    const post = (status: number) => attempt({ at: 900, took: 150, status, slot: null, method: 'POST', body: true })
    const [cut, failed, refused] = [post(0), post(502), post(503)]
    const found = lost([cut, failed, refused], { executions: null, passages: null }, world({ faults: [kill] }))
    expect(found.map(({ attempt }) => attempt?.id)).toEqual([refused.id])
  })

  it('R12.2 excuses nothing because of an ejection alone', () => {
    const ejected: Fault = { ...kill, kind: 'ejected' }
    const post = attempt({ at: 900, took: 150, ...failed, method: 'POST', body: true })
    expect(lost([post], none, world({ faults: [ejected] }))).toHaveLength(1)
  })
})

describe('executed twice', () => {
  it('R12.1 R12.2 is a POST that two instances began, or one of them twice; a GET may be when the first was lost', () => {
    const twice = attempt({ method: 'POST', body: true })
    const again = attempt({ method: 'PUT', body: true })
    const get = attempt()
    const put = attempt({ method: 'PUT' })
    const both = [twice, get, put].flatMap(({ id }) => [
      { id, instance: 'a-1-0', at: T0 },
      { id, instance: 'a-1-1', at: T0 + 5 },
    ])
    const same = [0, 5].map((ms) => ({ id: again.id, instance: 'a-1-0', at: T0 + ms }))
    const lostFirst = world({ faults: [{ ...kill, slot: 0, instance: 'a-1-0', at: T0 }] })
    const found = executedTwice([twice, again, get, put], [...both, ...same], lostFirst)
    expect(found.map(({ message }) => message)).toEqual([
      'POST was begun by a-1-0 and a-1-1',
      'PUT was begun by a-1-0 and a-1-0',
    ])
    // Nobody was lost, or it was only busy.
    const busy = world({ faults: [{ ...kill, kind: 'busy', slot: 0, instance: 'a-1-0', at: T0 }] })
    for (const calm of [world(), busy]) expect(executedTwice([get, put], both, calm)).toHaveLength(2)
    const thrice = ['a-1-0', 'a-1-1', 'a-1-2'].map((instance) => ({ id: get.id, instance, at: T0 }))
    expect(executedTwice([get], thrice, lostFirst)).toHaveLength(1)
  })
})

describe('a busy instance', () => {
  it('R12.2 that is ejected is found; one that was ejected before is not', () => {
    const busy: Fault = { kind: 'busy', instance: 'a-1-1', slot: 1, at: T0 + 1_000, until: T0 + 7_000 }
    const ejected = (seenAt: number, instance = 'a-1-1'): Fault => ({ ...kill, kind: 'ejected', instance, seenAt })
    expect(ejectedWhileBusy(world({ faults: [busy, ejected(T0 + 900), ejected(T0 + 3_000, 'a-1-2')] }))).toEqual([])
    expect(ejectedWhileBusy(world({ faults: [busy, ejected(T0 + 3_000)] }))).toHaveLength(1)
  })

  it('R12.2 excuses neither a lost request nor a move', () => {
    const busy: Fault = { kind: 'busy', instance: 'a-1-1', slot: 1, at: T0 + 1_000, until: T0 + 7_000 }
    const post = attempt({ at: 1_100, took: 150, ...failed, method: 'POST', body: true })
    expect(lost([post], none, world({ faults: [busy] }))).toHaveLength(1)
    expect(mayBeDown(world({ faults: [busy] }), 1, T0 + 2_000, T0 + 3_000)).toBe(false)
  })
})

describe('hidden retries', () => {
  it('R1.2 are attempts that routers saw more often than the client asked', () => {
    const [one, two] = [attempt(), attempt()]
    const passage = (id: string) => ({ id, instance: null, status: 200, attempts: 1, clientGone: false })
    const found = hiddenRetries(
      [one, two],
      [passage(one.id), passage(two.id), passage(two.id), passage('a stranger'), passage('a stranger')],
    )
    expect(found.map(({ attempt }) => attempt?.id)).toEqual([two.id])
  })
})

describe('a slow failover', () => {
  it('R12.2 is a repeatable request that waits longer for another instance than an ejection takes', () => {
    const hang: Fault = { ...kill, kind: 'hang', until: T0 + 20_000 }
    const quick = attempt({ at: 1_100, took: 3_200 })
    const begunBefore = attempt({ at: 800, took: 4_000 })
    const slow = attempt({ at: 1_100, took: 6_000 })
    const post = attempt({ at: 1_100, took: 9_000, method: 'POST', body: true })
    const begun = attempt({ at: 800, took: 6_000, slot: 1, stream: true })
    const elsewhere = attempt({ at: 800, took: 6_000, slot: 2, stream: true })
    const late = attempt({ at: 1_100, took: 6_000, slot: 1, stream: true })
    const all = [quick, begunBefore, slow, post, begun, elsewhere, late]
    const found = slowFailovers(all, world({ faults: [hang] }))
    expect(found.map(({ attempt }) => attempt?.id)).toEqual([slow.id, elsewhere.id, late.id])
    expect(slowFailovers([slow], world())).toEqual([])
  })
})
