import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { ROOT } from './stack-options.ts'
import { endTagged } from './tagged-processes.ts'
import { type TestReport, tally } from './test-report.ts'

/**
 * The body of `.ci/run`: `npm run check`, then `npm test`, then one line with their sum. What the report of the tests
 * does not know counts too: see `tally`.
 */
const TAG = 'COPPICE_CI_RUN'
/** Tests that leave a process behind keep vitest waiting for its output, after its report is out. */
const END_TIMEOUT_MS = 60_000
const POLL_MS = 500

const run = randomUUID()
const folder = mkdtempSync(join(tmpdir(), 'coppice-ci-'))
const reportFile = join(folder, 'tests.json')

const checkCode = await ended(npm(['run', '--silent', 'check']))
const tests = npm([
  'test',
  '--silent',
  '--',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${reportFile}`,
])
const testCode = await Promise.race([ended(tests), stuck(tests)])
const left = await endTagged(TAG, run)
const { passed, failed, skipped } = tally(readReport(), checkCode, testCode)
await removeTree(folder)

const say = (words: string) => process.stdout.write(`${words}\n`)
if (checkCode !== 0) say('npm run check failed')
if (left.length > 0) say(`processes that the tests left behind: ${left.length}, now ended`)
if (skipped > 0) say(`${skipped} skipped`)
say(`${passed} passed, ${failed} failed`)
process.exit(failed > 0 || passed === 0 ? 1 : 0)

function npm(args: string[]): ChildProcess {
  return spawn('npm', args, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, [TAG]: run } })
}

async function ended(child: ChildProcess): Promise<number> {
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 1
}

/** Resolves when the report has been there for a while and the run still has not ended. */
async function stuck(child: ChildProcess): Promise<number> {
  while (readReport() === null) await sleep(POLL_MS, undefined, { ref: false })
  await sleep(END_TIMEOUT_MS, undefined, { ref: false })
  if (child.exitCode === null) process.stdout.write('the tests are over, but their run does not end\n')
  return 1
}

function readReport(): TestReport | null {
  try {
    return JSON.parse(readFileSync(reportFile, 'utf8')) as TestReport
  } catch {
    return null
  }
}
