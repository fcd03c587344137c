import { describe, expect, it } from 'vitest'
import { digestKey, isShed, mintKey, movedKey, pickSlot, shedTarget } from '../../domain/affinity.ts'
import { countMoves, keysReplaced, movedNeedlessly, movedWithoutCause, uneven } from './placement.ts'
import { attempt, keyFor, SLOTS, T0, table, world } from './testing.ts'
import type { Fault, SeenTable } from './world.ts'

let word = 1
const random = () => (word = (Math.imul(word, 1_664_525) + 1_013_904_223) >>> 0)
const minted = (slot: number) => mintKey(random, slot, SLOTS)
const down = (slot: number): Fault => ({
  kind: 'kill',
  instance: `a-1-${slot}`,
  slot,
  at: T0 + 1_000,
  until: T0 + 4_000,
})

describe('a needless move', () => {
  it('R7.2 is an answer from another slot than the one the key belongs to', () => {
    const history = SLOTS.map((slot) => attempt({ slot, key: keyFor(1) }))
    const found = movedNeedlessly(history, world())
    expect(found.map(({ message }) => message)).toEqual([
      'slot 0 answered a key that belongs to slot 1',
      'slot 2 answered a key that belongs to slot 1',
    ])
  })

  it('is none without a key, without an answer, or in an app without affinity', () => {
    const history = [attempt({ slot: 2, key: null }), attempt({ slot: null, status: 0, key: keyFor(1) })]
    expect(movedNeedlessly(history, world())).toEqual([])
    const plain = world({ tables: [table(-10_000, '1', SLOTS, { affinity: false })] })
    expect(movedNeedlessly([attempt({ slot: 2, key: keyFor(1) })], plain)).toEqual([])
  })

  it('R8.1 is none while the slot is down, if the next in order answers; before and after, it is one', () => {
    const here = (at: number, slot: number) => attempt({ at, slot, key: keyFor(1, 2) })
    const history = [here(100, 2), here(2_000, 2), here(2_100, 0), here(2_200, 1), here(9_000, 2)]
    const found = movedNeedlessly(history, world({ faults: [down(1)] }))
    expect(found.map((one) => [(one.attempt?.startedAt ?? 0) - T0, one.attempt?.slot])).toEqual([
      [100, 2],
      [2_100, 0],
      [9_000, 2],
    ])
  })

  it('R8.2 is none when the table changed and the key belongs elsewhere in the new one', () => {
    const tables = [table(-10_000, '1', [0, 1]), table(5_000, '1', [0, 1, 2])]
    const key = keyFor(2)
    const home = pickSlot(digestKey(key), [0, 1])
    const history = [
      attempt({ at: 0, slot: home, key }),
      attempt({ at: 5_100, slot: home, key }),
      attempt({ at: 5_100, slot: 2, key }),
      attempt({ at: 20_000, slot: 2, key }),
    ]
    expect(movedNeedlessly(history, world({ tables }))).toEqual([])
    const wrong = [attempt({ at: 0, slot: 2, key }), attempt({ at: 20_000, slot: home, key })]
    expect(movedNeedlessly(wrong, world({ tables }))).toHaveLength(2)
  })

  it('R8.3 is none for a minted session that a rebalance sheds, and one for a key that a client chose', () => {
    const rebalance = { epoch: 1, slots: SLOTS, shed: { '0': 1 } }
    const tables = [table(-10_000, '1', SLOTS, { rebalance })]
    const key = minted(0)
    expect(isShed(digestKey(key), 0, rebalance)).toBe(true)
    const target = shedTarget(digestKey(key), SLOTS, rebalance)
    const shed = attempt({ kind: 'browser', slot: target, key, newKey: movedKey(key, target, SLOTS, rebalance) })
    expect(movedNeedlessly([shed], world({ tables }))).toEqual([])
    expect(keysReplaced([shed], world({ tables }))).toEqual([])
    const chosen = keyFor(0)
    const wrong = attempt({ slot: shedTarget(digestKey(chosen), SLOTS, rebalance), key: chosen })
    expect(movedNeedlessly([wrong], world({ tables }))).toHaveLength(1)
  })
})

describe('a move without a cause', () => {
  const seen = (at: number, slot: number) => attempt({ at, slot })
  const moves = (history: ReturnType<typeof attempt>[], more: Parameters<typeof world>[0] = {}) =>
    movedWithoutCause(history, world(more)).length

  it('R8.2 is one between two slots that were there all the time, whatever the arithmetic says', () => {
    expect(moves([seen(0, 1), seen(100, 1), seen(200, 2), seen(300, 2)])).toBe(1)
    expect(moves([seen(0, 1), seen(100, 1)])).toBe(0)
    const tables = [table(-10_000, '1', [0, 1, 2]), table(5_000, '1', [0, 1])]
    expect(moves([seen(0, 1), seen(9_000, 0)], { tables })).toBe(1)
  })

  it('R8.1 is none away from a slot that was down, or back to it', () => {
    expect(moves([seen(900, 1), seen(2_000, 2), seen(6_000, 1)], { faults: [down(1)] })).toBe(0)
    expect(moves([seen(900, 0), seen(2_000, 2)], { faults: [down(1)] })).toBe(1)
  })

  it('R8.2 is none from a slot that left, or to one that joined', () => {
    const [three, two] = [table(-10_000, '1', [0, 1, 2]), table(-10_000, '1', [0, 1])]
    expect(moves([seen(0, 2), seen(9_000, 0)], { tables: [three, { ...two, at: T0 + 5_000 }] })).toBe(0)
    expect(moves([seen(0, 0), seen(9_000, 2)], { tables: [two, { ...three, at: T0 + 5_000 }] })).toBe(0)
  })

  it('R8.3 is none by a rebalance, however late, but for those who began later, had moved already, or chose their key', () => {
    const rebalance = { epoch: 1, slots: SLOTS, shed: { 1: 0.3 } }
    const tables = [table(-10_000), table(1_000, '1', SLOTS, { rebalance })]
    const asked = (at: number, slot: number) => attempt({ at, slot, kind: 'browser' })
    expect(moves([asked(0, 1), asked(5_000, 1), asked(9_000, 2)], { tables })).toBe(0)
    expect(moves([asked(0, 1), asked(9_000, 2), asked(9_100, 1)], { tables })).toBe(1)
    expect(moves([asked(0, 1), asked(5_000, 2), asked(9_000, 0)], { tables })).toBe(1)
    expect(moves([asked(0, 0), asked(9_000, 2)], { tables: [table(-10_000, '1', SLOTS, { rebalance })] })).toBe(1)
    expect(moves([asked(5_000, 1), asked(9_000, 2)], { tables })).toBe(1)
    expect(moves([seen(0, 1), seen(5_000, 1), seen(9_000, 2)], { tables })).toBe(1)
  })
})

describe('a replaced key', () => {
  it('R8.1 is a fault when the client had chosen it, or nothing forced the move', () => {
    const [chosen, own] = [keyFor(1), minted(1)]
    const history = [
      attempt({ slot: 1, key: chosen, newKey: minted(1) }),
      attempt({ slot: 1, key: own, newKey: minted(1), kind: 'browser' }),
      attempt({ slot: 1, key: own, newKey: own, kind: 'browser' }),
    ]
    expect(keysReplaced(history, world())).toHaveLength(2)
  })

  it('R8.1 is right for a minted one whose slot is down, if it leads to where the session now is', () => {
    const key = minted(1)
    const target = pickSlot(digestKey(key), SLOTS, (slot) => slot !== 1)
    const moved = (to: number) =>
      attempt({ at: 2_000, kind: 'browser', slot: target, key, newKey: movedKey(key, to, SLOTS) })
    const faulty = world({ faults: [down(1)] })
    expect(keysReplaced([moved(target)], faulty)).toEqual([])
    expect(keysReplaced([moved(1)], faulty)).toHaveLength(1)
  })

  it('R8.2 is right for one whose slot leaves, as long as that drains, and for no other then', () => {
    const shrunk = table(-10_000, '1', [0, 1])
    const [leaving] = table(-10_000, '1', [2]).endpoints as [SeenTable['endpoints'][number]]
    const drains = world({
      tables: [{ ...shrunk, endpoints: [...shrunk.endpoints, { ...leaving, state: 'draining' }] }],
    })
    const asked = (key: string) => {
      const slot = pickSlot(digestKey(key), [0, 1])
      return attempt({ kind: 'browser', slot, key, newKey: movedKey(key, slot, SLOTS) })
    }
    expect(keysReplaced([asked(minted(2))], drains)).toEqual([])
    expect(keysReplaced([asked(minted(1))], drains)).toHaveLength(1)
    expect(keysReplaced([asked(minted(2))], world({ tables: [shrunk] }))).toHaveLength(1)
  })

  it('R7.1 leads to the instance that gave it, the first one too', () => {
    const first = (slot: number, to: number) => attempt({ kind: 'browser', key: null, slot, newKey: minted(to) })
    expect(keysReplaced([first(0, 0)], world())).toEqual([])
    expect(keysReplaced([first(0, 2)], world())).toHaveLength(1)
  })
})

it('moves are counted by the slot that was left, and only for requests with a key', () => {
  const from = (client: string, ...slots: number[]) => slots.map((slot, at) => attempt({ client, slot, at }))
  expect(countMoves([...from('a', 1, 1, 2), ...from('b', 1, 0, 0), ...from('c', 2, 2)])).toEqual({
    moved: 2,
    sessions: 3,
    bySlot: { 1: 2 },
  })
})

it('R1.1 an instance that gets next to none of many new sessions is told', () => {
  const spread = (weights: number[]) =>
    weights.flatMap((many, slot) =>
      Array.from({ length: many }, (_, i) => attempt({ client: `${slot}.${i}`, slot, key: null })),
    )
  expect(uneven(spread([45, 38, 37]), world())).toEqual([])
  expect(uneven(spread([118, 2, 60]), world()).map(({ message }) => message)).toEqual([
    'slot 1 got 2 of 180 new sessions; its share is 60',
  ])
})
