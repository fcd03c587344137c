import ignore from 'ignore'
import { describe, expect, it } from 'vitest'
import { readIgnoreFile } from './ignore-file.ts'

/** A small deterministic generator (mulberry32), so that a failure can be repeated. */
function randomFrom(seed: number) {
  let state = seed
  return (count: number) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * count)
  }
}

describe('R3.8 .gitignore', () => {
  it('is read as another reader of it does, for ten thousand random files and paths', () => {
    const random = randomFrom(20_261_127)
    const pick = <T>(from: readonly T[]) => from[random(from.length)] as T
    const some = (count: number, make: () => string, by: string) =>
      Array.from({ length: 1 + random(count) }, make).join(by)
    const UNITS = [
      'a',
      'b',
      'A',
      '.',
      'a',
      'b',
      '*',
      '?',
      '[ab]',
      '[!a]',
      '[a-c]',
      '[[:alpha:]]',
      '\\a',
      '\\*',
      ' ',
      '-',
    ]
    const segment = () => (random(5) === 0 ? '**' : some(3, () => pick(UNITS), ''))
    const pattern = () =>
      `${pick(['', '', '', '!'])}${pick(['', '', '/'])}${some(3, segment, '/')}${pick(['', '', '/', ' '])}`
    const name = () => some(3, () => pick(['a', 'b', 'B', 'c', '.', '-', '*', '0']), '').replace(/^\.+$/, 'a')
    for (let round = 0; round < 10_000; round++) {
      const text = some(4, pattern, '\n')
      const other = ignore({ allowRelativePaths: true }).add(text)
      const file = readIgnoreFile(text)
      for (const isDirectory of [false, true]) {
        const path = some(4, name, '/')
        const { ignored, unignored } = other.test(isDirectory ? `${path}/` : path)
        const expected = ignored ? 'ignored' : unignored ? 'taken' : null
        expect([text, path, isDirectory, file.verdict(path, isDirectory)]).toEqual([text, path, isDirectory, expected])
      }
    }
  })

  it.each([
    ['several `**`', '**/a/**/a/**/a/**/a/**/b', `${'a/'.repeat(1000)}c`],
    ['several `**` and `*`', '**/*a*/**/*a*/**/*a*/b', `${'aaaaaaaa/'.repeat(200)}c`],
    ['many `*`', `${'*a'.repeat(500)}b`, 'a'.repeat(2000)],
    ['many `?`', '?'.repeat(60_000), 'a'],
    ['many backslashes', '\\'.repeat(1_000_000), 'a'],
    ['many blanks', `a${' '.repeat(1_000_000)}b${'\\ '.repeat(500_000)}`, 'a'],
    ['many brackets', '['.repeat(20_000), 'a'],
    ['many classes', '[[:'.repeat(20_000), 'a'],
    ['many stars', `${'*'.repeat(1_000_000)}b`, 'a'],
  ])('R14.4 with %s in a pattern holds nobody up', (_, pattern, path) => {
    expect(readIgnoreFile(pattern).verdict(path, false)).toBeNull()
  })
})
