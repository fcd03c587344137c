import { expect, it } from 'vitest'
import { crashesInARow, restartDelayMs } from './back-off.ts'

it('R12.9 waits 1 s after the first crash, doubles, and never waits longer than 5 minutes', () => {
  expect([1, 2, 3, 4, 9, 10, 11, 5_000].map((crashes) => restartDelayMs(crashes))).toEqual([
    1_000, 2_000, 4_000, 8_000, 256_000, 300_000, 300_000, 300_000,
  ])
  expect(restartDelayMs(0)).toBe(0)
})

it('R12.9 forgets the crashes of an instance that was up for 10 minutes, and not a moment before', () => {
  expect(crashesInARow(7, 10 * 60_000 - 1)).toBe(8)
  expect(crashesInARow(7, 10 * 60_000)).toBe(1)
})
