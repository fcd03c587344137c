import { expect, it } from 'vitest'
import { digestKey } from '../domain/affinity.ts'
import { countSessions, Sessions } from './sessions.ts'

it('counts each session once over all processes, where it was last', () => {
  const [one, two] = [new Sessions(), new Sessions()]
  for (let i = 0; i < 100; i++) {
    one.seen(digestKey(`k${i}`).a, 'a', 5)
    if (i < 40) two.seen(digestKey(`k${i}`).a, 'b', 6)
  }
  expect(countSessions([one.sample(6), two.sample(6)])).toEqual({ a: 60, b: 40 })
})

it('forgets a session that was not seen for 30 minutes', () => {
  const sessions = new Sessions()
  sessions.seen(1 << 8, 'a', 0)
  expect(countSessions([sessions.sample(30)])).toEqual({ a: 1 })
  expect(countSessions([sessions.sample(31)])).toEqual({})
})

it('stays within its bound and estimates beyond it, also when processes sample at different rates', () => {
  const [full, small] = [new Sessions(1024), new Sessions(1024)]
  for (let i = 0; i < 50_000; i++) full.seen(digestKey(`k${i}`).a, i % 4 === 0 ? 'a' : 'b', 1)
  for (let i = 50_000; i < 50_500; i++) small.seen(digestKey(`k${i}`).a, 'a', 1)
  expect(full.sample(1).rows.length).toBeLessThanOrEqual(1024)
  const counts = countSessions([full.sample(1), small.sample(1)])
  expect((counts.a as number) / 13_000).toBeGreaterThan(0.75)
  expect((counts.a as number) / 13_000).toBeLessThan(1.25)
  expect((counts.b as number) / 37_500).toBeCloseTo(1, 0)
})
