import { readFileSync } from 'node:fs'
import { type TestReport, tally } from './test-report.ts'

/**
 * The last line of `.ci/run`. Arguments: report of the tests (vitest's JSON), exit codes of the check and of the
 * tests. What the report does not know counts as well: a check that fails, a test run that ends with an error though
 * no test failed (an unhandled rejection, a crash), a run without a report.
 */
const [file = '', checkCode = '1', testCode = '1'] = process.argv.slice(2)
let report: TestReport | null = null
try {
  report = JSON.parse(readFileSync(file, 'utf8')) as TestReport
} catch (error) {
  process.stdout.write(`no report of the tests: ${(error as Error).message}\n`)
}
const { passed, failed, skipped } = tally(report, Number(checkCode), Number(testCode))
if (checkCode !== '0') process.stdout.write('npm run check failed\n')
if (skipped > 0) process.stdout.write(`${skipped} skipped\n`)
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0
