import { expect, it } from 'vitest'
import { keptLines } from './kept-lines.ts'
import { RECORD_LINES_BYTES } from './limits.ts'

const size = (lines: readonly string[]) => Buffer.byteLength(JSON.stringify(lines))

it('R14.4 lines that fit are kept as they are', () => {
  expect(keptLines([])).toEqual([])
  const lines = Array.from({ length: 30 }, (_, n) => `line ${n}`)
  expect(keptLines(lines)).toEqual(lines)
})

it.each([
  ['漢', 'of three bytes'],
  ['\u0001', 'of one byte that take six in JSON'],
  ['x', 'of one byte'],
])('R14.4 of lines of %j, %s, the newest are kept within the bound, and how many are missing is said', (char) => {
  const lines = Array.from({ length: 30 }, (_, n) => `${n} ${char.repeat(2_000)}`)
  const kept = keptLines(lines)
  expect(size(kept)).toBeLessThanOrEqual(RECORD_LINES_BYTES)
  const [said, ...rest] = kept
  expect(rest.length).toBeGreaterThan(0)
  expect(rest).toEqual(lines.slice(-rest.length))
  expect(said).toBe(`(${30 - rest.length} earlier lines are left out here)`)
  expect(size(lines.slice(-rest.length - 1))).toBeGreaterThan(RECORD_LINES_BYTES - 200)
})

it('R14.4 of one line that is longer than all may be its end is kept, and that it was cut is said', () => {
  for (const char of ['x', '漢', '\u0001', '👍']) {
    const kept = keptLines(['before', `${char.repeat(100_000)}!`])
    expect(size(kept)).toBeLessThanOrEqual(RECORD_LINES_BYTES)
    expect(kept[0]).toBe('(1 earlier line is left out here)')
    expect(kept[1]).toMatch(/^…/)
    expect(kept[1]?.endsWith(`${char}!`)).toBe(true)
    expect(kept[1]?.isWellFormed()).toBe(true)
  }
})
