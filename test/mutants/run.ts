import { globSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { seeded } from '../../loadtest/k6/random.ts'
import { ROOT } from '../../scripts/stack-options.ts'
import type { TestReport } from '../../scripts/test-report.ts'
import { makeScratch, type Scratch } from '../breaks/scratch.ts'
import { applied, type Mutant, mutantsOf } from './mutants.ts'

/**
 * `npm run test:mutants -- [--count 150] [--seed N] [--only router/] [--unit] [--out FILE]`: draws mutants of the code
 * and runs the tests that reach each: first the unit tests that import its file, then the tests of its folder with real
 * processes. Prints those that no test noticed. Exit code 1 if there are any.
 */
const FOLDERS = ['domain', 'store', 'router', 'workflows', 'runtime']

/** Tests that reach the code of a folder through processes, which no import tells. */
const REACHED_BY: Record<string, string[]> = {
  domain: [
    'test/router/affinity.test.ts',
    'test/control/rest.test.ts',
    'test/sagas/deploy.test.ts',
    'test/sagas/changes.test.ts',
  ],
  store: ['test/control', 'test/sagas/deploy.test.ts', 'test/sagas/changes.test.ts', 'test/sagas/faults.test.ts'],
  router: ['test/router'],
  workflows: ['test/histories', 'test/sagas'],
  runtime: ['test/conformance', 'test/builders', 'test/sagas/faults.test.ts'],
}

/** A mutant may well run for ever. */
const UNIT_TIMEOUT_MS = 3 * 60_000
const INTEGRATION_TIMEOUT_MS = 15 * 60_000

type Drawn = { file: string; mutant: Mutant }
type Verdict = 'unit test' | 'integration test' | 'survived'

function draw(count: number, seed: number, only: string): Drawn[] {
  const all = FOLDERS.flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: ROOT }))
    .filter((file) => !/\.test\.ts$|\/testing[-.]/.test(file) && file.startsWith(only))
    .sort()
    .flatMap((file) => mutantsOf(scratch.read(file)).map((mutant) => ({ file, mutant })))
  const random = seeded(seed, 0, 0)
  const drawn: Drawn[] = []
  while (drawn.length < count && all.length > 0) drawn.push(...all.splice(random.whole(0, all.length - 1), 1))
  return drawn
}

/** Without a report the code does not even load, or hangs, which every test notices. */
const noticed = (report: TestReport | null): boolean =>
  report === null || report.testResults.some(({ status }) => status === 'failed')

async function judge({ file, mutant }: Drawn, unitOnly: boolean): Promise<Verdict> {
  const original = scratch.read(file)
  scratch.write(file, applied(original, mutant))
  try {
    const unit = await scratch.vitest(
      ['related', file, '--run', '--project', 'unit', '--passWithNoTests'],
      UNIT_TIMEOUT_MS,
    )
    if (noticed(unit.report)) return 'unit test'
    if (unitOnly) return 'survived'
    const reached = REACHED_BY[file.split('/')[0] as string] as string[]
    const { report } = await scratch.vitest(['run', ...reached, '--bail', '1'], INTEGRATION_TIMEOUT_MS)
    return noticed(report) ? 'integration test' : 'survived'
  } finally {
    scratch.write(file, original)
  }
}

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '150' },
    seed: { type: 'string', default: String(1 + Math.floor(Math.random() * 1e6)) },
    only: { type: 'string', default: '' },
    unit: { type: 'boolean', default: false },
    out: { type: 'string' },
  },
})
const scratch: Scratch = makeScratch()
try {
  const drawn = draw(Number(values.count), Number(values.seed), values.only)
  const say = (words: string) => process.stdout.write(`${words}\n`)
  say(`${drawn.length} mutants, seed ${values.seed}`)
  const results: Array<{ verdict: Verdict; where: string; words: string; text: string }> = []
  for (const [i, one] of drawn.entries()) {
    const verdict = await judge(one, values.unit)
    const where = `${one.file}:${one.mutant.line}`
    const text = (scratch.read(one.file).split('\n')[one.mutant.line - 1] as string).trim()
    results.push({ verdict, where, words: one.mutant.words, text })
    say(`${i + 1}/${drawn.length} ${verdict.padEnd(16)} ${where}  ${one.mutant.words}`)
    if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(results, null, 1)}\n`)
  }
  const survivors = results.filter(({ verdict }) => verdict === 'survived')
  for (const { where, words, text } of survivors) say(`survived  ${where}  ${words}\n          ${text}`)
  say(`${results.length - survivors.length} of ${results.length} mutants are noticed; seed ${values.seed}`)
  process.exitCode = survivors.length === 0 ? 0 : 1
} finally {
  await scratch.remove()
}
