import { describe, expect, it } from 'vitest'
import { withoutTrailing } from './trailing.ts'

describe('a text without what is at its end', () => {
  it.each([
    ['http://a//', 'http://a'],
    ['//a/b', '//a/b'],
    ['///', ''],
    ['', ''],
  ])('%j is %j', (text, expected) => {
    expect(withoutTrailing(text, '/')).toBe(expected)
  })

  it('takes no time for a run that is not at the end', () => {
    const text = `${'/'.repeat(2_000_000)}x`
    expect(withoutTrailing(text, '/')).toBe(text)
  })
})
