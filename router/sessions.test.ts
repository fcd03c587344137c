import { expect, it } from 'vitest'
import { digestKey, SHED_RANKS } from '../domain/affinity.ts'
import { countSessions, NOT_MINTED, Sessions } from './sessions.ts'

it('counts each session once over all processes, where it was last', () => {
  const [one, two] = [new Sessions(), new Sessions()]
  for (let i = 0; i < 100; i++) {
    one.seen(digestKey(`k${i}`).a, 'a', 5, NOT_MINTED)
    if (i < 40) two.seen(digestKey(`k${i}`).a, 'b', 6, NOT_MINTED)
  }
  expect(countSessions([one.sample(6), two.sample(6)])).toEqual({ sessions: { a: 60, b: 40 }, ranks: {} })
})

it('R8.3 tells the ranks of sessions that a router minted, without those that go on under another key', () => {
  const [one, two] = [new Sessions(), new Sessions()]
  one.seen(1, 'a', 5, 0)
  one.seen(2, 'a', 5, 31)
  one.seen(3, 'a', 5, NOT_MINTED)
  two.seen(4, 'a', 5, 31)
  two.moved(1, 6)
  two.seen(5, 'b', 6, 7)
  const of = (counts: Record<number, number>) => Array.from({ length: SHED_RANKS }, (_, rank) => counts[rank] ?? 0)
  expect(countSessions([one.sample(6), two.sample(6)])).toEqual({
    sessions: { a: 3, b: 1 },
    ranks: { a: of({ 31: 2 }), b: of({ 7: 1 }) },
  })
})

it('R8.3 does not count a session twice because a request that came before it moved ends after that', () => {
  const [one, two] = [new Sessions(), new Sessions()]
  for (const process of [one, two]) process.seen(1, 'a', 5, 0)
  one.moved(1, 6)
  one.seen(2, 'b', 6, 0)
  for (const process of [one, two]) process.seen(1, 'a', 6, 0)
  expect(countSessions([one.sample(7), two.sample(7)]).sessions).toEqual({ b: 1 })
  // It came back with the old key.
  two.seen(1, 'a', 7, 0)
  expect(countSessions([one.sample(7), two.sample(7)]).sessions).toEqual({ a: 1, b: 1 })
  // What was open for an hour has ended.
  two.seen(1, 'a', -53, 0)
  expect(countSessions([one.sample(7), two.sample(7)]).sessions).toEqual({ a: 1, b: 1 })
})

it('forgets a session that was not seen for 30 minutes', () => {
  const sessions = new Sessions()
  sessions.seen(1 << 8, 'a', 0, NOT_MINTED)
  expect(countSessions([sessions.sample(30)]).sessions).toEqual({ a: 1 })
  expect(countSessions([sessions.sample(31)]).sessions).toEqual({})
})

it('R13.8 forgets what it saw by a clock that was ahead as soon as the rest, and sees where that goes on', () => {
  const sessions = new Sessions()
  for (const key of [1, 2]) sessions.seen(key, 'a', 500_000, NOT_MINTED)
  expect(countSessions([sessions.sample(10)]).sessions).toEqual({ a: 2 })
  sessions.seen(1, 'b', 11, NOT_MINTED)
  expect(countSessions([sessions.sample(11)]).sessions).toEqual({ a: 1, b: 1 })
  expect(countSessions([sessions.sample(41)]).sessions).toEqual({ b: 1 })
})

it('stays within its bound and estimates beyond it, also when processes sample at different rates', () => {
  const [full, small] = [new Sessions(1024), new Sessions(1024)]
  for (let i = 0; i < 50_000; i++) full.seen(digestKey(`k${i}`).a, i % 4 === 0 ? 'a' : 'b', 1, NOT_MINTED)
  for (let i = 50_000; i < 50_500; i++) small.seen(digestKey(`k${i}`).a, 'a', 1, NOT_MINTED)
  expect(full.sample(1).rows.length).toBeLessThanOrEqual(1024)
  const { sessions: counts } = countSessions([full.sample(1), small.sample(1)])
  expect((counts.a as number) / 13_000).toBeGreaterThan(0.75)
  expect((counts.a as number) / 13_000).toBeLessThan(1.25)
  expect((counts.b as number) / 37_500).toBeCloseTo(1, 0)
})

it('R8.3 tells few sessions to the one again after a flood of keys, and estimates them until then', () => {
  const sessions = new Sessions(1024)
  const flood = (minute: number) => {
    for (let i = 0; i < 200_000; i++) sessions.seen(digestKey(`flood${i}`).a, 'a', minute, NOT_MINTED)
  }
  const told = (minute: number) => {
    // Everybody comes back once in 20 minutes.
    for (let i = minute % 20; i < 400; i += 20) sessions.seen(digestKey(`k${i}`).a, 'b', minute, NOT_MINTED)
    return countSessions([sessions.sample(minute)]).sessions
  }
  flood(0)
  expect((told(0).a as number) / 200_000).toBeCloseTo(1, 0)
  const later = Array.from({ length: 120 }, (_, i) => told(i + 1))
  const exact = later.findIndex(({ b }) => b === 400)
  expect(later[exact]).toEqual({ b: 400 })
  // Those of the flood are forgotten, then what was left out has been seen for as long.
  expect(exact).toBeLessThan(2 * 31 + 1)
  expect(later.slice(exact)).toEqual(Array(120 - exact).fill({ b: 400 }))
  // Never half of them because they were not seen yet.
  for (const { b } of later.slice(0, exact)) expect((b ?? 0) % 256).toBe(0)
  flood(121)
  expect(sessions.sample(121).rows.length).toBeLessThanOrEqual(1024)
  expect((told(121).a as number) / 200_000).toBeCloseTo(1, 0)
})
