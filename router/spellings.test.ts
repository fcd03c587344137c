import { expect, it } from 'vitest'
import { Spellings } from './spellings.ts'

it('R1.6 names of headers are remembered as long as they are short and few, and those that come later, too', () => {
  const asked: string[] = []
  const spellings = new Spellings((name) => {
    asked.push(name)
    return name.toLowerCase()
  })
  for (let n = 0; n < 5_000; n++) expect(spellings.of(`X-${n}`)).toBe(`x-${n}`)
  expect(spellings.size).toBeLessThanOrEqual(1_024)
  const long = 'X'.repeat(30_000)
  asked.length = 0
  for (const name of ['X-4999', 'Accept', 'Accept', long, long]) expect(spellings.of(name)).toBe(name.toLowerCase())
  expect(asked).toEqual(['Accept', long, long])
})
