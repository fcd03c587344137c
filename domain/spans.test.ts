import { expect, it } from 'vitest'
import { elapsedMs, newestFirst, remainingMs } from './spans.ts'

const HOUR = 3_600_000
const NOW = 1_700_000_000_000

it('R13.8 a span is never longer than itself, however the clock was set since it began', () => {
  expect(remainingMs(NOW + 32_000, 32_000, NOW)).toBe(32_000)
  expect(remainingMs(NOW + 32_000, 32_000, NOW + 30_000)).toBe(2_000)
  expect(remainingMs(NOW + 32_000, 32_000, NOW - HOUR)).toBe(32_000)
  expect(remainingMs(NOW + 32_000, 32_000, NOW + HOUR)).toBe(0)
})

it('R13.8 what lies in the future has just begun', () => {
  expect(elapsedMs(NOW, NOW + 5)).toBe(5)
  expect(elapsedMs(NOW, NOW - HOUR)).toBe(0)
})

it('R13.8 what is dated by a clock that was ahead is taken for the oldest, and a few moments make no difference', () => {
  const times = [NOW + HOUR, NOW - 2, NOW, NOW + 2 * HOUR, NOW + 1_000]
  const sorted = [NOW + 1_000, NOW, NOW - 2, NOW + 2 * HOUR, NOW + HOUR]
  expect(times.toSorted(newestFirst(NOW))).toEqual(sorted)
  expect(sorted.toSorted(newestFirst(NOW))).toEqual(sorted)
})
