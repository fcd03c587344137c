import { expect, it } from 'vitest'
import { applied, mutantsOf } from './mutants.ts'

const TEXT = `import { a } from './a.ts'
export function late(at: number, now: number): boolean {
  if (now - at >= 3 && !a) return true
  remember(at)
  return [at].some((one: number) => one === now)
}
`

it('changes one thing at a time, where it stands, and leaves types and imports alone', () => {
  const all = mutantsOf(TEXT).map((mutant) => [mutant.line, mutant.words, applied(TEXT, mutant)] as const)
  expect(all.map(([line, words]) => `${line} ${words}`).sort()).toEqual([
    '3 ! left out',
    '3 && → ||',
    '3 - → +',
    '3 3 → 4',
    '3 >= → >',
    '3 condition never true',
    '3 condition turned round',
    '3 true → false',
    '4 left out: remember(at)',
    '5 === → !==',
    '5 some → every',
  ])
  const lines = TEXT.split('\n')
  for (const [line, , text] of all) {
    const changed = text.split('\n').flatMap((one, i) => (one === lines[i] ? [] : [i + 1]))
    expect(changed).toEqual([line])
  }
})
