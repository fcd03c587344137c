import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { seeded } from '../../loadtest/k6/random.ts'
import { ROOT } from '../../scripts/stack-options.ts'
import type { TestReport } from '../../scripts/test-report.ts'
import { makeScratch, type Scratch } from '../breaks/scratch.ts'
import { applied, type Mutant, mutantsOf } from './mutants.ts'
import { reachedBy } from './reach.ts'

/**
 * `npm run test:mutants -- [--count 150] [--seed N] [--only router/] [--unit] [--again FILE] [--out FILE]`: draws mutants
 * of the code and runs the tests that reach each: first the unit tests that import its file, then those with real
 * processes (reach.ts), one file at a time, until one notices; with `--unit` the first alone. `--again` draws none, but
 * takes those that survived by the report of an earlier `--out`, and the second alone, so that a cheap run may go before a
 * dear one. Prints those that no test noticed; exit code 1 if there are any.
 */
const FOLDERS = ['domain', 'store', 'router', 'workflows', 'runtime']

/** A mutant may well run for ever. */
const UNIT_TIMEOUT_MS = 3 * 60_000
const INTEGRATION_TIMEOUT_MS = 5 * 60_000
/** A test that waits for what a mutant keeps from happening need not wait as long as on a loaded machine. */
const TEST_TIMEOUT_MS = 60_000

type Drawn = { file: string; mutant: Mutant }
type Verdict = { verdict: 'noticed' | 'survived' | 'not reached'; by: string }
type Result = Verdict & { file: string; line: number; start: number; words: string; text: string }

const mutantsIn = (file: string): Drawn[] => mutantsOf(scratch.read(file)).map((mutant) => ({ file, mutant }))

function draw(count: number, seed: number, only: string): Drawn[] {
  const all = FOLDERS.flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: ROOT }))
    .filter((file) => !/\.test\.ts$|\/testing[-.]/.test(file) && file.startsWith(only))
    .sort()
    .flatMap(mutantsIn)
  const random = seeded(seed, 0, 0)
  const drawn: Drawn[] = []
  while (drawn.length < count && all.length > 0) drawn.push(...all.splice(random.whole(0, all.length - 1), 1))
  return drawn
}

/** What survived before, where it stands now; what was changed meanwhile is not found any more. */
function drawAgain(report: string, only: string): Drawn[] {
  const results = JSON.parse(readFileSync(report, 'utf8')) as Result[]
  return results
    .filter(({ verdict, file }) => verdict !== 'noticed' && file.startsWith(only))
    .flatMap(({ file, start, words, text }) => {
      const moved = ({ mutant }: Drawn) => Math.abs(mutant.start - start)
      const same = mutantsIn(file).filter((one) => one.mutant.words === words && lineOf(one) === text)
      return same.sort((a, b) => moved(a) - moved(b)).slice(0, 1)
    })
}

const lineOf = ({ file, mutant }: Drawn): string => (scratch.read(file).split('\n')[mutant.line - 1] as string).trim()

/** The test that failed. Without a report the code does not even load, or hangs, which every test notices. */
function failedIn(report: TestReport | null): string | null {
  if (report === null) return 'no report: it hangs, or does not load'
  const failed = report.testResults.filter(({ status }) => status === 'failed')
  if (failed.length === 0) return null
  const [file, test] = failed
    .flatMap(({ name, assertionResults }) => assertionResults.map((one) => [name, one] as const))
    .find(([, { status }]) => status === 'failed') ?? [failed[0]?.name]
  return `${file?.replace(/^.*coppice-breaks-[^/]*\//, '')} › ${test?.fullName.slice(0, 200) ?? 'the file itself'}`
}

/** The runs of vitest that may notice a change of this file, the cheap ones first. */
function runsFor(
  file: string,
  which: { unit: boolean; integration: boolean },
): { args: string[]; timeoutMs: number }[] {
  const unit = ['related', file, '--run', '--project', 'unit', '--passWithNoTests', '--bail', '1']
  // All that are no unit tests: some count among those of root where root runs them.
  const integration = (test: string) => ['run', test, '--project', '!unit', '--bail', '1']
  return [
    ...(which.unit ? [{ args: unit, timeoutMs: UNIT_TIMEOUT_MS }] : []),
    ...(which.integration ? reachedBy(file) : []).map((test) => ({
      args: [...integration(test), `--testTimeout=${TEST_TIMEOUT_MS}`, `--hookTimeout=${TEST_TIMEOUT_MS}`],
      timeoutMs: INTEGRATION_TIMEOUT_MS,
    })),
  ]
}

async function judge({ file, mutant }: Drawn, which: { unit: boolean; integration: boolean }): Promise<Verdict> {
  const original = scratch.read(file)
  scratch.write(file, applied(original, mutant))
  let reached = false
  try {
    for (const { args, timeoutMs } of runsFor(file, which)) {
      const { report } = await scratch.vitest(args, timeoutMs)
      const by = failedIn(report)
      if (by !== null) return { verdict: 'noticed', by: report === null ? `${args[1]}: ${by}` : by }
      reached ||= (report?.testResults.length ?? 0) > 0
    }
    return { verdict: reached ? 'survived' : 'not reached', by: '' }
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
    again: { type: 'string' },
    out: { type: 'string' },
  },
})
const scratch: Scratch = makeScratch()
try {
  const drawn =
    values.again === undefined
      ? draw(Number(values.count), Number(values.seed), values.only)
      : drawAgain(values.again, values.only)
  const say = (words: string) => process.stdout.write(`${words}\n`)
  say(`${drawn.length} mutants, ${values.again === undefined ? `seed ${values.seed}` : `of ${values.again}`}`)
  const results: Result[] = []
  for (const [i, one] of drawn.entries()) {
    const { file, mutant } = one
    const verdict = await judge(one, { unit: values.unit || values.again === undefined, integration: !values.unit })
    results.push({ file, line: mutant.line, start: mutant.start, words: mutant.words, text: lineOf(one), ...verdict })
    say(`${i + 1}/${drawn.length} ${verdict.verdict.padEnd(11)} ${file}:${mutant.line}  ${mutant.words}  ${verdict.by}`)
    if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(results, null, 1)}\n`)
  }
  const survivors = results.filter(({ verdict }) => verdict !== 'noticed')
  for (const { file, line, verdict, words, text } of survivors)
    say(`${verdict}  ${file}:${line}  ${words}\n          ${text}`)
  say(`${results.length - survivors.length} of ${results.length} mutants are noticed`)
  process.exitCode = survivors.length === 0 ? 0 : 1
} finally {
  await scratch.remove()
}
