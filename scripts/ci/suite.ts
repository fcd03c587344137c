import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Tally, type TestReport, tally } from '../test-report.ts'
import { giveTree, type Identity } from './identity.ts'
import { endAll, leftIn, outlived, ownedInTmp, pidsOf, TAG, taggedPids } from './leftovers.ts'

/** Tests that leave a process behind keep vitest waiting for its output, after its report is out. */
const END_TIMEOUT_MS = 60_000
/** Processes that were told to end may need a moment. */
const QUIET_TIMEOUT_MS = 10_000
const POLL_MS = 500

export type Suite = {
  /** The clone. */
  folder: string
  /** Of this suite alone, and its user's: for temporary files and the report. */
  work: string
  as: Identity
  /** Commands that have to succeed before the tests, e.g. `npm run check`; one that fails counts as one failure. */
  before: string[][]
  /** vitest's program and arguments, or `npm test --`; what the report needs is added. */
  tests: string[]
  /** Ends it by an error; what still runs is the caller's to end. */
  signal: AbortSignal
}

/** Runs the tests of a clone as somebody. Processes and files that are left afterwards count as one failure each. */
export async function runSuite({ folder, work, as, before, tests, signal }: Suite): Promise<Tally> {
  const temporary = join(work, 'tmp')
  const reportFile = join(work, 'tests.json')
  mkdirSync(temporary, { recursive: true })
  giveTree(temporary, as)
  const start = ([program = '', ...args]: string[]): ChildProcess =>
    spawn(program, args, {
      cwd: folder,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...as.env, TMPDIR: temporary, ...TAG },
      uid: as.uid,
      gid: as.gid,
    })

  const broken: string[] = []
  for (const command of before) {
    signal.throwIfAborted()
    say(`as ${as.name}: ${command.join(' ')}`)
    if ((await ended(start(command), signal)) === 0) continue
    broken.push(`failed as ${as.name}: ${command.join(' ')}`)
  }
  signal.throwIfAborted()
  say(`as ${as.name}: ${tests.join(' ')}`)
  const run = start([...tests, '--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`])
  const testCode = await Promise.race([ended(run, signal), stuck(run, reportFile)])
  signal.throwIfAborted()

  const find = async () => [...new Set([...(await taggedPids()), ...(as.uid === undefined ? [] : pidsOf(as.uid))])]
  const processes = await outlived(find, QUIET_TIMEOUT_MS)
  await endAll(find)
  const files = [...leftIn(temporary), ...(as.uid === undefined ? [] : ownedInTmp(as.uid, join(work, '..')))]
  const left = [
    ['processes', processes],
    ['temporary files', files],
  ] as const
  for (const [what, names] of left) {
    if (names.length === 0) continue
    broken.push(`${what} that the tests left behind as ${as.name}:\n  ${names.join('\n  ')}`)
  }
  return tally(readReport(reportFile), broken, testCode)
}

export function say(words: string): void {
  process.stdout.write(`${words}\n`)
}

/** Its exit code; 1 when it cannot be started, and as soon as the signal comes. */
async function ended(child: ChildProcess, signal: AbortSignal): Promise<number> {
  try {
    const [code] = (await once(child, 'exit', { signal })) as [number | null]
    return code ?? 1
  } catch (error) {
    if (!signal.aborted) say(`${child.spawnfile} could not be started: ${error}`)
    return 1
  }
}

/** Resolves when the report has been there for a while and the run still has not ended. */
async function stuck(child: ChildProcess, reportFile: string): Promise<number> {
  while (readReport(reportFile) === null) await sleep(POLL_MS, undefined, { ref: false })
  await sleep(END_TIMEOUT_MS, undefined, { ref: false })
  if (child.exitCode === null && child.signalCode === null) say('the tests are over, but their run does not end')
  return 1
}

function readReport(file: string): TestReport | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as TestReport
  } catch {
    return null
  }
}
