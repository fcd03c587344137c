import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import { CoppiceError } from '../domain/errors.ts'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { endLeftBuilds } from '../runtime/builders/left-builds.ts'
import { removeGround } from '../runtime/ground.ts'
import { sweepControlGroups } from '../runtime/providers/process/control-group.ts'
import { createProcessProvider } from '../runtime/providers/process/process-provider.ts'
import { isAlive, systemProcessTable } from '../runtime/providers/process/process-table.ts'
import { acquireProcessLock, type ProcessLock } from '../store/process-lock.ts'
import { storeOptionsFrom } from '../store/settings.ts'
import { openStore } from '../store/store.ts'
import { sweepRestores } from './backup/put-back.ts'
import { PROCESS_NAMES, readState, type StackState } from './stack/state-file.ts'
import { endRecorded } from './stack/supervised.ts'
import { homePaths, ROOT } from './stack-options.ts'

/**
 * `coppice down [--purge]`: ends what runs on a data directory, whoever started it and however much of it is left:
 * a starter, processes that a killed starter left, instances that a killed worker left. `--purge` removes the directory.
 */
const { values } = parseArgs({
  options: { home: { type: 'string' }, purge: { type: 'boolean' }, quiet: { type: 'boolean' } },
})

/** SIGTERM, 15 s, SIGKILL for instances (R3.6), and something for a loaded machine. */
const STOP_MS = { worker: 40_000, router: 35_000, control: 10_000, temporal: 10_000 }
const STARTER_MS = 120_000
const INSTANCE_GRACE_MS = 15_000

const say = (words: string): void => {
  if (!values.quiet) process.stderr.write(`${words}\n`)
}

async function down(home: string, purge: boolean): Promise<void> {
  await sweepRestores(home)
  // Nothing is written into a folder that is not ours, not even a lock.
  if (!isDataDirectory(home)) return say(`${home} is not a data directory of Coppice; nothing runs on it.`)
  const paths = homePaths(home)
  const state = readState(paths.state)
  if (state !== null) await endStarter(state)
  const lock = await takeOver(home)
  try {
    const left = readState(paths.state)?.processes ?? {}
    for (const name of [...PROCESS_NAMES].reverse()) {
      const record = left[name]
      if (record === undefined) continue
      say(`Stopping the ${name} process (pid ${record.pid})`)
      // SIGINT makes a worker stop the instances, too.
      await endRecorded(record, { stopSignal: name === 'worker' ? 'SIGINT' : 'SIGTERM', stopGraceMs: STOP_MS[name] })
    }
    await removeInstances(home)
    rmSync(paths.state, { force: true })
  } finally {
    lock.release()
  }
  if (!purge) return say(`Stopped. The apps are kept in ${home}; coppice up brings them back.`)
  await purgeFolder(home)
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
  await attempt(removeGround(home))
  for (const name of names.filter((name) => OURS.has(name) && name !== INVENTORY))
    await attempt(removeTree(join(home, name)))
  // By it the next attempt knows that the folder is one of ours.
  if (failures.length > 0)
    throw new CoppiceError('Unavailable', `Stopped, and removed but for this:\n  ${failures.join('\n  ')}`)
  await removeTree(join(home, INVENTORY))
  const foreign = names.filter((name) => !OURS.has(name))
  if (foreign.length > 0)
    return say(`Stopped and removed. What is not Coppice's stays in ${home}: ${foreign.join(', ')}`)
  rmdirSync(home)
  say(`Stopped, and ${home} is removed.`)
}

/** The starter knows how to stop what it has started; it removes its state file when that is done. */
async function endStarter({ starter }: StackState): Promise<void> {
  const table = systemProcessTable()
  if (!(await isAlive(table, starter.pid, starter.startTime))) return
  say(`Stopping the platform (pid ${starter.pid})`)
  process.kill(starter.pid, 'SIGTERM')
  for (
    const end = performance.now() + STARTER_MS;
    await isAlive(table, starter.pid, starter.startTime);
    await sleep(50)
  )
    if (performance.now() > end)
      throw new CoppiceError('Unavailable', `Process ${starter.pid} has not stopped within ${STARTER_MS / 1000} s`)
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

/** Instances outlive their worker on purpose (DESIGN D11); these outlived all of it. */
async function removeInstances(home: string): Promise<void> {
  // Also where their folder was removed: whose they are stands in the inventory.
  const store = await openStore({ ...storeOptionsFrom(process.env), home })
  const { homeId } = store
  const provider = createProcessProvider({
    home: join(home, 'instances'),
    homeId,
    logsDir: join(home, 'logs', 'instances'),
    ports: store.ports,
    logger: pino({ level: 'silent' }),
  })
  try {
    const ids = await provider.list()
    if (ids.length > 0) say(`Stopping ${ids.length} instance${ids.length === 1 ? '' : 's'}: ${ids.join(', ')}`)
    await Promise.all(
      ids.map(async (id) => {
        const { left } = await provider.remove(id, { graceMs: INSTANCE_GRACE_MS })
        if (left !== null) say(`Of ${id} something is left: ${left}`)
      }),
    )
    await endLeftBuilds({ homeId, making: join(home, 'artifacts', 'making') })
    sweepControlGroups(homeId)
    const rest = await provider.list()
    if (rest.length > 0) throw new CoppiceError('Unavailable', `Instances are left on ${home}: ${rest.join(', ')}`)
  } finally {
    provider.close()
    await store.close()
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
