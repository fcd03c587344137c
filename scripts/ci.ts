import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { acquireProcessLock } from '../store/process-lock.ts'
import { giveTree, isRoot, makeUser, myself, removeUser } from './ci/identity.ts'
import { endAll, taggedPids } from './ci/leftovers.ts'
import { runSuite, say } from './ci/suite.ts'
import { ROOT } from './stack-options.ts'
import type { Tally } from './test-report.ts'
import { cacheFolder } from './toolchain/cache.ts'
import { resolveTool } from './toolchain/resolve.ts'
import { TOOLS, type ToolName } from './toolchain/tools.ts'
import { copyWorkTree } from './work-tree.ts'

/**
 * The body of `.ci/run`. In a copy of this clone, an ordinary user does what the README says: set-up, `npm run check`,
 * `npm test`. Whoever runs it is that user, or, when root does, somebody made for it; then root runs the tests that need
 * root. The last line is the sum, in which what else went wrong counts as failed: see `tally` and `runSuite`.
 *
 * One run at a time for each user, so that all that is found under its names at the start is of one that was killed.
 */
const SET_UP = ['node', join('scripts', 'setup.mjs')]
const CHECK = ['npm', 'run', '--silent', 'check']
const ALL = ['npm', 'test', '--silent', '--']
/** In a mount namespace of their own, so that no disk stays mounted, however they end. */
const OF_ROOT = ['unshare', '--mount', ...ALL, '--project', 'root']
/** CI is given 50 min, set-up is over when this begins, and something remains to be said after it. */
const TIMEOUT_MS = 46 * 60_000

/** Short, because sockets have a place in it. */
const work = join(tmpdir(), `coppice-ci-${process.getuid?.()}`)

async function main(): Promise<Tally[]> {
  const lock = acquireProcessLock(join(cacheFolder(), 'ci.lock'))
  if (lock === null) throw new Error('another CI run of this user is under way')
  await cleanUp()
  try {
    return await runAll(AbortSignal.any([interrupts(), tooLate()]))
  } finally {
    await cleanUp()
    lock.release()
  }
}

async function runAll(signal: AbortSignal): Promise<Tally[]> {
  const place = join(work, 'user')
  const home = join(place, 'home')
  // With what paths are quoted and encoded for.
  const folder = join(place, 'a blank and ümlaut', 'coppice')
  mkdirSync(place, { recursive: true })
  // Others than its owner pass through, whatever the umask.
  chmodSync(work, 0o755)
  copyWorkTree(folder)
  // The tests that break promises take their own copies by asking git.
  execFileSync('git', ['init', '--quiet'], { cwd: folder })
  const user = isRoot() ? makeUser(home) : myself()
  if (isRoot()) await handOverTools(home)
  giveTree(place, user)
  const tallies = [await runSuite({ folder, work: place, as: user, before: [SET_UP, CHECK], tests: ALL, signal })]
  if (isRoot()) {
    const ofRoot = { folder: ROOT, work: join(work, 'root'), as: myself(), before: [], tests: OF_ROOT, signal }
    tallies.push(await runSuite(ofRoot))
  } else {
    say('not run, and not counted, because only root can run them: the tests in test/root')
  }
  return tallies
}

/** What takes minutes to build, and what only root can install. The rest the user fetches, as anybody would. */
async function handOverTools(home: string): Promise<void> {
  for (const name of Object.keys(TOOLS) as ToolName[]) {
    const { path } = await resolveTool(name, { onProgress: (words) => say(words) })
    const from = dirname(path)
    if (!from.startsWith(cacheFolder())) continue
    const to = join(cacheFolder({ XDG_CACHE_HOME: join(home, '.cache') }), 'tools', basename(from))
    cpSync(from, to, { recursive: true, verbatimSymlinks: true })
  }
}

/** Takes all of this run, or of one that was killed, from the machine. */
async function cleanUp(): Promise<void> {
  await endAll(taggedPids)
  if (isRoot()) await removeUser()
  await removeTree(work)
}

function interrupts(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(name, () => controller.abort(`the run was ended by ${name}`))
  return controller.signal
}

function tooLate(): AbortSignal {
  const controller = new AbortController()
  setTimeout(() => controller.abort(`the run took more than ${TIMEOUT_MS / 60_000} min`), TIMEOUT_MS).unref()
  return controller.signal
}

const tallies = await main().catch((error: unknown): Tally[] => {
  const words = `the run itself: ${error instanceof Error ? error.stack : error}`
  return [{ passed: 0, failed: 1, skipped: 0, failures: [words] }]
})
// Last, where they are still seen when only the end of the output is kept.
for (const words of tallies.flatMap(({ failures }) => failures)) say(`failed: ${words}`)
const sum = (count: 'passed' | 'failed' | 'skipped') => tallies.reduce((total, tally) => total + tally[count], 0)
if (sum('skipped') > 0) say(`${sum('skipped')} skipped`)
say(`${sum('passed')} passed, ${sum('failed')} failed`)
process.exit(sum('failed') > 0 || sum('passed') === 0 ? 1 : 0)
