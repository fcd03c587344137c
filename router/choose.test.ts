import { afterEach, describe, expect, it, vi } from 'vitest'
import { digestKey, mintKey, rankSlots, shedTarget } from '../domain/affinity.ts'
import { type AppRoute, PROTOCOL } from '../domain/route-table.ts'
import { app } from '../test/router/support/tables.ts'
import { chooser } from './choose.ts'
import type { Endpoint } from './endpoint.ts'
import { Exchange } from './exchange.ts'
import { ALL_WELL, type Health } from './health.ts'
import { Metrics } from './metrics.ts'
import { DEFAULT_TIMEOUTS } from './options.ts'
import { REFUSALS } from './refusal.ts'
import { Routes } from './routes.ts'
import { WaitingRoom } from './waiting-room.ts'

const SLOTS = [0, 1, 2]

function setUp(more: Partial<AppRoute> = {}, { places = 4, random = 0, waitMs = 60_000 } = {}) {
  const room = new WaitingRoom(places)
  const nothing = {
    onChange: () => room.wake(),
    onIdle: () => undefined,
    onDraining: () => undefined,
    onSpeaks: () => undefined,
  }
  const routes = new Routes(DEFAULT_TIMEOUTS, new Metrics(), nothing)
  const endpoints = SLOTS.map((slot) => ({ name: `i${slot}`, address: `127.0.0.1:${slot}` }))
  const row = app('app', endpoints, more)
  let version = 0
  const apply = (change: Partial<AppRoute> = {}) =>
    routes.apply({ protocol: PROTOCOL, inventory: 'x', version: ++version, apps: [{ ...row, ...change }] })
  apply()
  const { again } = chooser({
    routes,
    room,
    timeouts: { ...DEFAULT_TIMEOUTS, noInstanceWaitMs: waitMs, holdWaitMs: waitMs },
    random: () => random,
  })
  return {
    room,
    apply,
    hold: () => routes.hold(['app']),
    health: (change: Partial<Health>) => routes.applyHealth({ ...ALL_WELL, ...change }),
    endpoint: (slot: number) => routes.forName('app')?.bySlot[slot] as Endpoint,
    /** What becomes of a request with this key; null while it waits. */
    choose: (key: string | null, tried: Endpoint[] | null = null) => {
      const exchange = new Exchange({} as never, {} as never, {} as never, 0)
      exchange.app = routes.forName('app') ?? null
      exchange.tried = tried
      exchange.minted = key !== null
      exchange.key = key
      exchange.digest = key === null ? null : digestKey(key)
      const outcome = { exchange, done: 0, slot: () => exchange.endpoint?.slot }
      again(exchange, () => outcome.done++)
      return outcome
    },
  }
}

/** A minted key that prefers the slots in this order. */
function keyOf(...order: number[]): string {
  let word = 1
  for (;;) {
    const key = mintKey(() => (word = (Math.imul(word, 1_664_525) + 1_013_904_223) >>> 0), order[0] as number, SLOTS)
    if (rankSlots(digestKey(key), SLOTS).join() === order.join()) return key
  }
}

describe('a session', () => {
  it('R7.2 goes home, waits there while its instance is busy, and gets no other key', () => {
    const { choose, health, endpoint } = setUp()
    for (const slot of SLOTS) expect(choose(keyOf(slot, (slot + 1) % 3, (slot + 2) % 3)).slot()).toBe(slot)
    health({ busy: ['i0'] })
    expect(endpoint(0).busy).toBe(true)
    expect(choose(keyOf(0, 1, 2))).toMatchObject({ done: 1, exchange: { newHome: null, endpoint: { slot: 0 } } })
  })

  it('R12.2 is at home again with the first byte of its instance, also when the primary still says that this is silent', () => {
    const { choose, health, endpoint } = setUp()
    const key = keyOf(0, 1, 2)
    health({ givenUp: ['i0'], busy: ['i0'] })
    expect(choose(key).slot()).toBe(1)
    // What waited for a connection to it has left it a moment ago.
    endpoint(0).suspectUntil = performance.now() + 60_000
    endpoint(0).heard()
    expect(choose(key)).toMatchObject({ exchange: { newHome: null, endpoint: { slot: 0 } } })
    health({ givenUp: ['i0'], busy: ['i0', 'i1'] })
    expect([choose(key).slot(), endpoint(0).busy, endpoint(1).busy]).toEqual([0, false, true])
    // What it answers may still be bad, and its process may be known to be gone.
    health({ givenUp: ['i0'] })
    expect(choose(key).slot()).toBe(1)
    health({ dead: ['i0'] })
    expect(choose(key).slot()).toBe(1)
  })

  it('R8.1 moves to the next slot that it prefers when its own is out, with a key that names that slot', () => {
    const { choose, health } = setUp()
    health({ dead: ['i0'] })
    expect(choose(keyOf(0, 2, 1)).exchange).toMatchObject({
      endpoint: { slot: 2 },
      newHome: { slot: 2, cause: 'moved' },
    })
  })

  it('R12.2 is tried elsewhere after a failure, and after somebody else’s, as long as that is fresh', () => {
    const { choose, endpoint } = setUp()
    const key = keyOf(0, 1, 2)
    expect(choose(key, [endpoint(0)]).slot()).toBe(1)
    expect(choose(key, [endpoint(0), endpoint(1)]).slot()).toBe(2)
    endpoint(0).suspectUntil = performance.now() + 60_000
    expect(choose(key).slot()).toBe(1)
    endpoint(0).suspectUntil = performance.now() - 1
    expect(choose(key).slot()).toBe(0)
    expect(endpoint(0).suspectUntil).toBe(0)
  })

  it('R12.2 is tried at a suspect rather than nowhere, and at a calm one rather than at a busy one', () => {
    const { choose, endpoint, health } = setUp()
    const key = keyOf(0, 1, 2)
    for (const slot of SLOTS) endpoint(slot).suspectUntil = performance.now() + 60_000
    expect(choose(key).slot()).toBe(0)
    for (const slot of SLOTS) endpoint(slot).suspectUntil = 0
    health({ busy: ['i1'] })
    expect(choose(key, [endpoint(0)]).slot()).toBe(2)
  })

  it('R12.2 is tried at a suspect rather than at a busy one, which may never answer, whichever it prefers', () => {
    const { choose, health, endpoint } = setUp()
    endpoint(2).suspectUntil = performance.now() + 60_000
    health({ busy: ['i1'] })
    expect(choose(keyOf(0, 1, 2), [endpoint(0)]).slot()).toBe(2)
    expect(choose(keyOf(0, 1, 2), [endpoint(0), endpoint(2)]).slot()).toBe(1)
  })

  it('R8.3 leaves a slot that sheds for one that sheds nothing, unless that one is out or lets others wait', () => {
    const rebalance = { epoch: 1, slots: SLOTS, shed: { 0: 1 } }
    const { choose, health } = setUp({ rebalance })
    const key = keyOf(0, 1, 2)
    const target = shedTarget(digestKey(key), SLOTS, rebalance)
    const moved = { endpoint: { slot: target }, newHome: { slot: target, cause: 'rebalanced' } }
    const stays = { endpoint: { slot: 0 }, newHome: null }
    expect(choose(key).exchange).toMatchObject(moved)
    health({ busy: [`i${target}`] })
    expect(choose(key).exchange).toMatchObject(stays)
    health({})
    expect(choose(key).exchange).toMatchObject(moved)
    expect(choose(keyOf(1, 0, 2)).exchange).toMatchObject({ endpoint: { slot: 1 }, newHome: null })
  })
})

describe('a new session', () => {
  it.each([
    [0, 0],
    [0.5, 1],
    [0.999, 2],
  ])('R7.1 goes anywhere (a draw of %d: slot %d)', (random, slot) => {
    expect(setUp({}, { random }).choose(null).slot()).toBe(slot)
  })

  it.each([0, 0.999])(
    'R12.2 goes to none that lets others wait or failed a moment ago while there is a calm one (%d)',
    (random) => {
      const { choose, health, endpoint } = setUp({}, { random })
      endpoint(0).suspectUntil = performance.now() + 60_000
      health({ busy: ['i2'] })
      expect(choose(null).slot()).toBe(1)
    },
  )

  it('R12.2 goes to one that is not calm rather than nowhere, and to none that was tried or is out', () => {
    const { choose, health, endpoint } = setUp({}, { random: 0.999 })
    health({ busy: ['i0', 'i1', 'i2'] })
    expect(choose(null).slot()).toBe(1)
    health({ busy: ['i0', 'i1', 'i2'], dead: ['i2'] })
    expect(choose(null).slot()).toBe(1)
    expect(choose(null, [endpoint(1)]).slot()).toBe(0)
  })

  it.each([0, 0.5, 0.999])(
    'R12.2 goes to none that has been silent for longer than most where all let others wait (%d)',
    (random) => {
      const { choose, health, endpoint } = setUp({}, { random })
      health({ busy: ['i1', 'i0', 'i2'] })
      expect([0, 2]).toContain(choose(null).slot())
      endpoint(2).busy = false
      endpoint(2).suspectUntil = performance.now() + 60_000
      expect(choose(null).slot()).toBe(2)
    },
  )
})

describe('a request that finds no instance', () => {
  const nobody = { dead: ['i0', 'i1', 'i2'] }

  it('waits, and goes on when one is back', () => {
    const { choose, health, room } = setUp()
    health(nobody)
    const waiting = choose(keyOf(0, 1, 2))
    expect(waiting).toMatchObject({ done: 0, exchange: { endpoint: null, refusal: null } })
    expect(room.size).toBe(1)
    health({})
    expect(waiting).toMatchObject({ done: 1, exchange: { endpoint: { slot: 0 }, refusal: null } })
    expect(room.size).toBe(0)
  })

  it('R1.6 goes nowhere and waits no longer once its client has gone, also when that is while others look again', () => {
    const { choose, health, room } = setUp()
    health(nobody)
    const [first, second] = [choose(keyOf(0, 1, 2)), choose(keyOf(0, 1, 2))]
    second.exchange.clientGone = true
    health({})
    expect(first).toMatchObject({ done: 1, exchange: { endpoint: { slot: 0 } } })
    expect(second).toMatchObject({ done: 0, exchange: { endpoint: null } })
    expect(room.size).toBe(0)
  })

  it('R1.6 is told that too many wait where there is no room, and not that there is no instance', () => {
    const { choose, health } = setUp({}, { places: 0 })
    health(nobody)
    expect(choose(null)).toMatchObject({ done: 1, exchange: { refusal: REFUSALS.tooManyWaiting } })
  })

  it.each([
    [{}, REFUSALS.noInstance],
    [{ status: 'starting' as const }, REFUSALS.starting],
    [{ held: true }, REFUSALS.held],
  ])('is told after its wait why there was none: %j', (more, refusal) => {
    const { choose, health, room } = setUp(more, { waitMs: 0 })
    health(nobody)
    expect(choose(null)).toMatchObject({ done: 1, exchange: { endpoint: null, refusal } })
    expect(room.size).toBe(0)
  })

  it('is told that there is no such app when it went meanwhile', () => {
    const { choose, health, apply } = setUp()
    health(nobody)
    const waiting = choose(null)
    apply({ app: 'other' })
    expect(waiting).toMatchObject({ done: 1, exchange: { refusal: REFUSALS.noSuchApp } })
  })
})

describe('a request that comes during a cut-over', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  it('R3.4 waits for its end whatever the limit of other waits is', () => {
    const { choose, hold, apply, room } = setUp({}, { waitMs: 0 })
    hold()
    const waiting = choose(keyOf(0, 1, 2))
    room.wake()
    expect(waiting).toMatchObject({ done: 0, exchange: { endpoint: null, refusal: null } })
    apply()
    expect(waiting).toMatchObject({ done: 1, exchange: { endpoint: { slot: 0 }, refusal: null } })
    expect(room.size).toBe(0)
  })

  it('R3.4 is not refused in its midst for a wait that began before', () => {
    vi.useFakeTimers()
    const { choose, hold, apply, health } = setUp({}, { waitMs: 1000 })
    health({ dead: ['i0', 'i1', 'i2'] })
    const waiting = choose(keyOf(0, 1, 2))
    vi.advanceTimersByTime(900)
    hold()
    vi.advanceTimersByTime(2000)
    health({})
    expect(waiting).toMatchObject({ done: 0, exchange: { endpoint: null, refusal: null } })
    apply()
    expect(waiting).toMatchObject({ done: 1, exchange: { endpoint: { slot: 0 }, refusal: null } })
  })

  it('R3.4 R1.6 is refused for no want of places, and takes none away from other apps', () => {
    const { choose, hold, apply, room } = setUp({}, { places: 2 })
    hold()
    const waiting = Array.from({ length: 50 }, () => choose(keyOf(1, 0, 2)))
    expect(waiting.map((one) => one.exchange.refusal)).toEqual(waiting.map(() => null))
    const other = new Exchange({} as never, {} as never, {} as never, 0)
    expect(room.enter(other, () => undefined)).toBe(true)
    room.leave(other)
    apply()
    expect(waiting.map((one) => one.slot())).toEqual(waiting.map(() => 1))
  })

  it('R1.6 has to find a place after it when there is no instance then', () => {
    const { choose, hold, apply, health, room } = setUp({}, { places: 4 })
    hold()
    const waiting = Array.from({ length: 50 }, () => choose(null))
    health({ dead: ['i0', 'i1', 'i2'] })
    expect(room.size).toBe(50)
    apply()
    expect(room.size).toBe(2)
    const refused = waiting.filter((one) => one.exchange.refusal === REFUSALS.tooManyWaiting)
    expect(refused).toHaveLength(48)
    health({})
    expect(room.size).toBe(0)
  })

  it('is not kept for ever when nobody ends the cut-over', () => {
    vi.useFakeTimers()
    const { choose, hold } = setUp()
    hold()
    const waiting = choose(null)
    vi.advanceTimersByTime(DEFAULT_TIMEOUTS.workerSilenceMs + 1000)
    expect(waiting.done).toBe(0)
    vi.advanceTimersByTime(60_000)
    expect(waiting).toMatchObject({ done: 1, exchange: { refusal: REFUSALS.held } })
  })
})

describe('the suspicion that an instance failed somebody', () => {
  it('outlasts the news of others, and ends when it comes back from being out', () => {
    const { endpoint, health } = setUp()
    endpoint(0).suspectUntil = 5
    health({ dead: ['i1'] })
    health({})
    expect(endpoint(0).suspectUntil).toBe(5)
    health({ dead: ['i0'] })
    expect(endpoint(0)).toMatchObject({ ejected: true, suspectUntil: 5 })
    health({})
    expect(endpoint(0)).toMatchObject({ ejected: false, suspectUntil: 0 })
  })
})
