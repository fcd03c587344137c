import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { isLater, RULES_FILE, ruleRows, testsByRule, withTests } from './rules-doc.ts'

const text = readFileSync(RULES_FILE, 'utf8')
const rows = ruleRows(text)
const tests = testsByRule()

describe('docs/rules.md', () => {
  it('names only tests that carry the id of the rule', () => {
    const wrong = rows.flatMap(({ id, testedIn }) =>
      testedIn.filter((path) => !tests.get(id)?.includes(path)).map((path) => `${id}: ${path}`),
    )
    expect(wrong).toEqual([])
  })

  it('says of each rule that is not for later where it is tested, unless no test carries its id', () => {
    const silent = rows.filter((row) => row.testedIn.length === 0 && !isLater(row) && tests.has(row.id))
    expect(silent.map(({ id }) => id)).toEqual([])
  })

  it('has every rule that a test is named after', () => {
    const known = new Set(rows.map(({ id }) => id))
    expect([...tests.keys()].filter((id) => !known.has(id))).toEqual([])
  })

  it('has each rule once', () => {
    const ids = rows.map(({ id }) => id)
    expect(ids).toEqual([...new Set(ids)])
    expect(ids.length).toBeGreaterThan(60)
  })
})

describe('the column', () => {
  it('is written from the names of tests, and leaves everything else as it was', () => {
    const before = '# Rules\n| R1.1 | it runs \\| well | old |\n| R1.2 | it stays | |\n| R1.3 | *later* it flies | |\n'
    const after = withTests(before, new Map([['R1.1', ['test/b/run.test.ts', 'domain/run.test.ts']]]))
    expect(after).toBe(
      '# Rules\n| R1.1 | it runs \\| well | [b/run](../test/b/run.test.ts) · [domain/run](../domain/run.test.ts) |\n' +
        '| R1.2 | it stays | *open* |\n| R1.3 | *later* it flies |  |\n',
    )
  })
})
