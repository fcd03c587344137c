import { expect, it } from 'vitest'
import { attempt, keyFor, T0 } from '../check/testing.ts'
import { percentile, seriesOf } from './series.ts'

it('R11.3 answers are counted by instance and second, failures and moves beside them', () => {
  const history = [
    attempt({ at: 0, slot: 1, client: 'a', key: keyFor(1) }),
    attempt({ at: 100, slot: 1, client: 'a', key: keyFor(1) }),
    attempt({ at: 600, slot: 0, client: 'a', key: keyFor(1) }),
    attempt({ at: 700, slot: null, status: 502 }),
  ]
  const series = seriesOf(history, T0, T0 + 1_000)
  expect(series.bucketMs).toBe(500)
  expect(series.seconds).toEqual([0, 0.5])
  expect(series.instances.map(({ slot, perSecond }) => [slot, perSecond])).toEqual([
    [0, [0, 2]],
    [1, [4, 0]],
  ])
  expect(series.failed).toEqual([0, 2])
  expect(series.moved).toEqual([0, 2])
  expect(series.p50).toEqual([10, 10])
})

it('a long run has no more buckets than a chart has room for', () => {
  const series = seriesOf([], T0, T0 + 20 * 60_000)
  expect(series.seconds.length).toBeLessThanOrEqual(150)
  expect(series.bucketMs).toBe(10_000)
})

it('a percentile is a value that was measured', () => {
  const values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 100]
  expect([percentile(values, 0.5), percentile(values, 0.95), percentile([], 0.5)]).toEqual([5, 100, null])
})
