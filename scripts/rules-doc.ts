import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { ROOT } from './stack-options.ts'

/** `node scripts/rules-doc.ts` writes the last column of docs/rules.md: the tests whose names begin with the rule's id. */
export const RULES_FILE = join(ROOT, 'docs', 'rules.md')

const LATER = '*later*'
const OPEN = '*open*'
/** `| R1.2 | rule | tested in |` */
const ROW = /^\| (R\d+\.\d+) \| (.*) \|([^|]*)\|$/
/** A string that begins with ids, as names of tests and keys of their tables do. */
const NAMED = /['"`]((?:R\d+\.\d+ )+)/g

export type RuleRow = { id: string; rule: string; testedIn: string[] }

/** Files of tests by the ids that their tests carry, as paths from the root. */
export function testsByRule(root = ROOT): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const file of testFiles(root)) {
    const path = relative(root, file)
    for (const [, ids = ''] of readFileSync(file, 'utf8').matchAll(NAMED))
      for (const id of ids.trim().split(' ')) {
        const files = found.get(id) ?? []
        if (!files.includes(path)) found.set(id, [...files, path])
      }
  }
  return found
}

export function ruleRows(text: string): RuleRow[] {
  return text.split('\n').flatMap((line) => {
    const [, id, rule, cell = ''] = ROW.exec(line) ?? []
    if (id === undefined || rule === undefined) return []
    return [{ id, rule, testedIn: [...cell.matchAll(/\]\(\.\.\/([^)]+)\)/g)].map(([, path]) => path as string) }]
  })
}

export const isLater = ({ rule }: RuleRow): boolean => rule.startsWith(LATER)

/** The text with its last column written anew. */
export function withTests(text: string, tests: ReadonlyMap<string, readonly string[]>): string {
  const lines = text.split('\n').map((line) => {
    const [, id, rule] = ROW.exec(line) ?? []
    if (id === undefined || rule === undefined) return line
    const files = (tests.get(id) ?? []).map((path) => `[${shortName(path)}](../${path})`)
    const cell = files.length > 0 ? files.sort().join(' · ') : rule.startsWith(LATER) ? '' : OPEN
    return `| ${id} | ${rule} | ${cell} |`
  })
  return lines.join('\n')
}

const shortName = (path: string): string => path.replace(/^test\//, '').replace(/\.test\.ts$/, '')

function testFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name === 'node_modules' || entry.name.startsWith('.')) return []
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return testFiles(path)
    return entry.name.endsWith('.test.ts') ? [path] : []
  })
}

if (import.meta.main) writeFileSync(RULES_FILE, withTests(readFileSync(RULES_FILE, 'utf8'), testsByRule()))
