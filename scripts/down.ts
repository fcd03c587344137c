import { accessSync, constants, existsSync, readdirSync, rmdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { CoppiceError } from '../domain/errors.ts'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { removeGrounds } from '../runtime/ground.ts'
import { isAlive, systemProcessTable } from '../runtime/providers/process/process-table.ts'
import { acquireProcessLock, type ProcessLock } from '../store/process-lock.ts'
import { sweepDrafts } from './backup/drafts.ts'
import { removeInstances } from './stack/instances.ts'
import { PROCESS_NAMES, readState, type StackState } from './stack/state-file.ts'
import { endStrays, named, stopping } from './stack/strays.ts'
import { endRecorded } from './stack/supervised.ts'
import { homePaths, ROOT } from './stack-options.ts'

/**
 * `coppice down [--purge]`: ends what runs on a data directory, whoever started it and however much of it is left:
 * a starter, processes that a killed starter left, instances that a killed worker left. `--purge` removes the directory.
 */
const { values } = parseArgs({
  options: { home: { type: 'string' }, purge: { type: 'boolean' }, quiet: { type: 'boolean' } },
})

const say = (words: string): void => {
  if (!values.quiet) process.stderr.write(`${words}\n`)
}

async function down(home: string, purge: boolean): Promise<void> {
  for (const words of await sweepDrafts(home)) say(`Of a backup or a restore something is left: ${words}`)
  const ours = isDataDirectory(home)
  // Nothing is written into a folder that is not ours, not even a lock.
  const left = ours ? await endPlatform(home) : await endLost(home)
  if (left === 'nothing') return say(`${home} is not a data directory of Coppice; nothing runs on it.`)
  // What was on its way out may have written there once more.
  if (purge && existsSync(home)) return purgeFolder(home)
  if (purge) {
    await removeGrounds(home, process).catch((error: Error) => butFor([error.message]))
    return say(`Stopped; ${home} was gone already.`)
  }
  if (!ours) return say(`Stopped. The apps are lost with what was in ${home}.`)
  say(`Stopped. The apps are kept in ${home}; coppice up brings them back.`)
}

async function endPlatform(home: string): Promise<'ended'> {
  const paths = homePaths(home)
  const state = readState(paths.state)
  if (state !== null) await endStarter(state)
  // On such a disk nobody gets the lock, so nothing starts there either; what runs there is ended all the same.
  const readOnly = isReadOnly(home)
  if (readOnly) say(`The disk of ${home} is read-only: nothing can be removed or written down there.`)
  const lock = readOnly ? null : await takeOver(home)
  try {
    const left = readState(paths.state)?.processes ?? {}
    for (const name of [...PROCESS_NAMES].reverse()) {
      const record = left[name]
      if (record === undefined) continue
      say(`Stopping ${named({ name, pid: record.pid })}`)
      await endRecorded(record, stopping(name))
    }
    await endStrays(home, say)
    await removeInstances(home, say)
    // Those that it names are gone, so it misleads nobody where it cannot be removed.
    await removeTree(paths.state).catch((error: Error) => say(`Something is left: ${error.message}`))
  } finally {
    lock?.release()
  }
  return 'ended'
}

/** What runs on a data directory that was removed. */
async function endLost(home: string): Promise<'ended' | 'nothing'> {
  const strays = await endStrays(home, say)
  return strays.length + (await removeInstances(home, say)) > 0 ? 'ended' : 'nothing'
}

const isDataDirectory = (home: string): boolean =>
  existsSync(join(home, INVENTORY)) ||
  existsSync(homePaths(home).state) ||
  (existsSync(homePaths(home).lock) && existsSync(homePaths(home).token))

const INVENTORY = 'inventory.db'

/** Everything that a platform makes in its data directory. */
const OURS = new Set([
  'artifacts',
  'backups',
  'cache',
  'instances',
  INVENTORY,
  'inventory.db-shm',
  'inventory.db-wal',
  'logs',
  'router',
  'run',
  'secret.key',
  'sources',
  'temporal',
  'token',
])

/** What somebody else has put there stays: a removal by mistake cannot be undone. */
async function purgeFolder(home: string): Promise<void> {
  const names = readdirSync(home)
  const failures: string[] = []
  const attempt = (work: Promise<void>) => work.catch((error: Error) => void failures.push(error.message))
  await attempt(removeGrounds(home, process))
  for (const name of names.filter((name) => OURS.has(name) && name !== INVENTORY))
    await attempt(removeTree(join(home, name)))
  // By it the next attempt knows that the folder is one of ours.
  if (failures.length === 0) await attempt(removeTree(join(home, INVENTORY)))
  if (failures.length > 0) butFor(failures)
  const foreign = names.filter((name) => !OURS.has(name))
  if (foreign.length > 0)
    return say(`Stopped and removed. What is not Coppice's stays in ${home}: ${foreign.join(', ')}`)
  try {
    rmdirSync(home)
  } catch (error) {
    // A disk of its own, or in a folder that is not ours to write.
    return say(`Stopped, and all in ${home} is removed; the folder itself stays: ${(error as Error).message}`)
  }
  say(`Stopped, and ${home} is removed.`)
}

function butFor(failures: string[]): never {
  throw new CoppiceError('Unavailable', `Stopped, and removed but for this:\n  ${failures.join('\n  ')}`)
}

/**
 * The starter knows how to stop what it has started; it removes its state file when that is done. One that does not end
 * is killed: the rest is ended without it.
 */
async function endStarter({ starter }: StackState): Promise<void> {
  if (!(await isAlive(systemProcessTable(), starter.pid, starter.startTime))) return
  say(`Stopping ${named({ name: 'starter', pid: starter.pid })}`)
  await endRecorded(starter, stopping('starter'))
}

function isReadOnly(home: string): boolean {
  try {
    accessSync(home, constants.W_OK)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EROFS'
  }
}

/** Nothing may start on the directory while it is being emptied. */
async function takeOver(home: string): Promise<ProcessLock> {
  for (const end = performance.now() + 5_000; ; await sleep(50)) {
    const lock = acquireProcessLock(homePaths(home).lock)
    if (lock !== null) return lock
    if (performance.now() > end)
      throw new CoppiceError('Unavailable', `Another program starts or stops a platform on ${home}`)
  }
}

// What is waited for below (an instance that ends) holds no handle of its own.
const alive = setInterval(() => {}, 60_000)
try {
  await down(resolve(values.home ?? join(ROOT, '.coppice')), values.purge === true)
} catch (error) {
  const known = error instanceof CoppiceError
  process.stderr.write(`${known ? error.message : ((error as Error).stack ?? error)}\n`)
  process.exit(known && error.code === 'InvalidInput' ? 2 : 1)
}
clearInterval(alive)
process.exit(0)
