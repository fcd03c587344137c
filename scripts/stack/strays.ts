import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { CoppiceError } from '../../domain/errors.ts'
import { realPathOf } from '../../runtime/ground.ts'
import { meansOurs } from '../../runtime/providers/process/mounts.ts'
import { type ProcessTable, systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { homePaths } from '../stack-options.ts'
import { PROCESS_NAMES, type ProcessName } from './state-file.ts'
import { endRecorded } from './supervised.ts'

/** A process that works on a data directory, found by what it was started with and by what it holds open. */
export type Stray = { name: ProcessName | 'starter'; pid: number; startTime: string }

/** SIGTERM, 15 s, SIGKILL for instances (R3.6), and something for a loaded machine; the starter waits for all the others. */
export const STOP_MS = { starter: 120_000, worker: 40_000, router: 35_000, control: 10_000, temporal: 10_000 }

/** SIGINT makes a worker stop the instances, too. */
export const stopping = (name: ProcessName | 'starter') => ({
  stopSignal: name === 'worker' ? ('SIGINT' as const) : ('SIGTERM' as const),
  stopGraceMs: STOP_MS[name],
})

/** What is ended and still there, or there again, that often has somebody who starts it. */
const ROUNDS = 3

/**
 * Ends what works on a data directory and stands in no record, as after a `rm -rf` of it. Records are files, and files
 * are lost; the environment of a process and its open files are lost only with it.
 *
 * @throws CoppiceError Unavailable with those that are left.
 */
export async function endStrays(home: string, say: (words: string) => void): Promise<Stray[]> {
  const ended: Stray[] = []
  for (let round = 0; ; round++) {
    const strays = await straysOf(home)
    if (strays.length === 0) return ended
    if (round === ROUNDS)
      throw new CoppiceError('Unavailable', `These still run on ${home}: ${strays.map(named).join(', ')}`)
    for (const name of ['starter' as const, ...[...PROCESS_NAMES].reverse()])
      for (const stray of strays.filter((other) => other.name === name)) {
        say(`Stopping ${named(stray)}, of which ${home} has no record any more`)
        await endRecorded(stray, stopping(name))
        ended.push(stray)
      }
  }
}

export const named = ({ name, pid }: Pick<Stray, 'name' | 'pid'>): string =>
  name === 'starter' ? `the platform (pid ${pid})` : `the ${name} process (pid ${pid})`

/**
 * Those of them that do the work of a platform. What a killed one was about to run stays for a while with its environment,
 * such as the `rm` of a large tree, and starts nothing again: only who was started by a supervisor leads a group.
 */
export async function platformOn(home: string, table: ProcessTable = systemProcessTable()): Promise<Stray[]> {
  return (await straysOf(home, table)).filter(({ holds, leads }) => holds || leads)
}

/** `holds`: a lock of the data directory; `leads`: a group of its own. */
type Found = Stray & { holds: boolean; leads: boolean }

async function straysOf(home: string, table: ProcessTable = systemProcessTable()): Promise<Found[]> {
  const holders = new Map(holding(home))
  const found = await familyOf(home, table, holders)
  const rows = (await table.rows()).filter((row) => found.has(row.pid) && !row.zombie)
  // The processes of a router go with it, those of a starter do not.
  const isChild = (parent: number) => found.has(parent) && found.get(parent) !== 'starter'
  return rows
    .filter((row) => !isChild(row.parent))
    .map(({ pid, group, startTime }) => ({
      name: found.get(pid) as Stray['name'],
      pid,
      startTime,
      holds: holders.has(pid),
      leads: pid === group,
    }))
}

/** With the processes of a router, and whatever else these have started with their own environment. */
export async function familyOf(
  home: string,
  table: ProcessTable = systemProcessTable(),
  holders: ReadonlyMap<number, Stray['name']> = new Map(holding(home)),
): Promise<Map<number, Stray['name']>> {
  const found = new Map([...(await startedFor(home, table)), ...holders])
  found.delete(process.pid)
  const real = realPathOf(home)
  return new Map([...found].filter(([pid]) => meansOurs(pid, [real])))
}

/**
 * By the environment that `describeProcesses` gives. COPPICE_HOME alone may stand in anybody's shell, and in all that
 * was started from there.
 */
async function startedFor(home: string, table: ProcessTable): Promise<Array<[number, ProcessName]>> {
  const real = realPathOf(home)
  const isOurs = ({ COPPICE_HOME = '', COPPICE_ROUTER_STATE_DIR = '' }: Record<string, string>) =>
    realPathOf(COPPICE_HOME) === real && COPPICE_ROUTER_STATE_DIR === homePaths(COPPICE_HOME).router
  const all = await table.tagged(['COPPICE_HOME', 'COPPICE_ROUTER_STATE_DIR'])
  const files = new Map((await table.tagged(['COPPICE_READY_FILE'])).map(({ pid, values }) => [pid, values]))
  return all
    .filter(({ values }) => isOurs(values))
    .map(({ pid, values }) => {
      const file = files.get(pid)?.COPPICE_READY_FILE
      const { ready } = homePaths(values.COPPICE_HOME as string)
      return [pid, PROCESS_NAMES.find((name) => ready(name) === file) ?? 'temporal']
    })
}

/** How the kernel calls an open file that was removed. */
const GONE = ' (deleted)'

/**
 * By their locks, Linux only. The lock of a starter counts only once it was removed: as long as it is there nobody else
 * gets it, and who has it may be another `down`.
 */
function holding(home: string): Array<[number, Stray['name']]> {
  const run = join(realPathOf(home), 'run')
  const worker = join(run, 'worker.lock')
  const control = join(run, 'control.lock')
  const names = new Map<string, Stray['name']>([
    [`${homePaths(realPathOf(home)).lock}${GONE}`, 'starter'],
    ...[worker, `${worker}${GONE}`].map((path) => [path, 'worker'] as const),
    ...[control, `${control}${GONE}`].map((path) => [path, 'control'] as const),
  ])
  return pids().flatMap((pid) =>
    openFiles(pid).flatMap((path): Array<[number, Stray['name']]> => {
      const name = names.get(path)
      return name === undefined ? [] : [[pid, name]]
    }),
  )
}

function pids(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
}

/** Processes go while one looks at them, and some are not ours to look into. */
function openFiles(pid: number): string[] {
  try {
    const folder = `/proc/${pid}/fd`
    return readdirSync(folder).flatMap((fd) => {
      try {
        return [readlinkSync(join(folder, fd))]
      } catch {
        return []
      }
    })
  } catch {
    return []
  }
}
