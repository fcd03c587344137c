import { CoppiceError } from '../../../domain/errors.ts'
import { type Clock, sleep } from '../../clock.ts'
import { HOME_VARIABLE, INSTANCE_VARIABLE } from './app-environment.ts'
import type { ProcessRow, ProcessTable } from './process-table.ts'

/** The process that was started; all that it forks is found from it, or by the mark in the environment. */
export type Leader = { pid: number; startTime: string }

export type FamilyOptions = {
  table: ProcessTable
  homeId: string
  id: string
  /** Null when nobody wrote down who it is. */
  leader: Leader | null
  /** Members that were seen before, as pid → start time: in the middle of an exec a process shows no environment. */
  known?: ReadonlyMap<number, string>
}

/**
 * The living processes of an instance: its process group, whatever carries its mark (children that called setsid),
 * and all their descendants. A process that leaves the group, wipes its environment and loses its parent is out of
 * reach; the process tier cannot do better (docs/security.md).
 */
export async function familyOf(options: FamilyOptions): Promise<ProcessRow[]> {
  const { table, leader } = options
  const tagged = await table.tagged([INSTANCE_VARIABLE, HOME_VARIABLE])
  const marked = new Set(
    tagged
      .filter(({ values }) => values[INSTANCE_VARIABLE] === options.id && values[HOME_VARIABLE] === options.homeId)
      .map(({ pid }) => pid),
  )
  const rows = await table.rows()
  const inGroup = leader ? groupTest(rows, leader) : () => false
  const isKnown = (row: ProcessRow) => options.known?.get(row.pid) === row.startTime
  const members = rows.filter((row) => marked.has(row.pid) || inGroup(row) || isKnown(row))
  const family = new Set(members.map(({ pid }) => pid))
  for (let before = -1; before < family.size; ) {
    before = family.size
    for (const row of rows) if (family.has(row.parent)) family.add(row.pid)
  }
  return rows.filter((row) => family.has(row.pid) && !row.zombie && row.pid !== process.pid)
}

/**
 * Whose group number `leader.pid` is. While the leader is in the table its start time says so. When it has gone, a
 * group of that number within a session of that number, of the same boot, is what it left behind: the kernel gives
 * a pid to nobody else while a group has it.
 */
function groupTest(rows: ProcessRow[], leader: Leader): (row: ProcessRow) => boolean {
  const found = rows.find((row) => row.pid === leader.pid)
  if (found) return (row) => found.startTime === leader.startTime && row.group === leader.pid
  const boot = (startTime: string) => startTime.split(':')[0]
  return (row) =>
    row.group === leader.pid && row.session === leader.pid && boot(row.startTime) === boot(leader.startTime)
}

/** How long after SIGKILL something may still be there: a process in uninterruptible sleep (state D) waits for its disk. */
const KILL_TIMEOUT_MS = 10_000

/**
 * SIGTERM to the group, `graceMs`, then SIGKILL to the group and to everything else of the family, until nothing of
 * it is left. Throws Unavailable when the kernel does not let go of it.
 */
export async function endFamily(options: FamilyOptions & { graceMs: number; clock: Clock }): Promise<void> {
  const { clock, leader } = options
  const known = new Map<number, string>()
  const look = async () => {
    const family = await familyOf({ ...options, known })
    for (const row of family) known.set(row.pid, row.startTime)
    return family
  }
  const family = await look()
  if (family.length === 0) return
  // Children that left the group of an app have no grace of their own: once the group is gone they are leftovers.
  const group = family.filter((row) => row.group === leader?.pid)
  if (options.graceMs > 0 && leader && group.length > 0) {
    signal(-leader.pid, 'SIGTERM')
    // A stopped process takes no SIGTERM until it goes on.
    signal(-leader.pid, 'SIGCONT')
    await untilGone(() => groupLives(options.table, leader), options.graceMs, clock)
  }
  if (options.graceMs > 0 && !leader) {
    for (const { pid } of family) signal(pid, 'SIGTERM')
    await untilGone(async () => (await look()).length > 0, options.graceMs, clock)
  }
  const survives = async () => {
    const rest = await look()
    if (leader && rest.some((row) => row.group === leader.pid)) signal(-leader.pid, 'SIGKILL')
    for (const { pid } of rest) signal(pid, 'SIGKILL')
    return rest.length > 0
  }
  if ((await untilGone(survives, KILL_TIMEOUT_MS, clock)) === 'timedOut') {
    const pids = (await look()).map(({ pid }) => pid)
    throw new CoppiceError('Unavailable', `processes ${pids.join(', ')} of ${options.id} do not end on SIGKILL`)
  }
}

/** The leader is one file to read; the whole table is looked through only once it has gone. */
async function groupLives(table: ProcessTable, leader: Leader): Promise<boolean> {
  const row = await table.row(leader.pid)
  if (row && !row.zombie && row.startTime === leader.startTime) return true
  const rows = await table.rows()
  const inGroup = groupTest(rows, leader)
  return rows.some((member) => inGroup(member) && !member.zombie)
}

async function untilGone(lives: () => Promise<boolean>, timeoutMs: number, clock: Clock): Promise<'gone' | 'timedOut'> {
  const deadline = clock.now() + timeoutMs
  for (let pauseMs = 2; await lives(); pauseMs = Math.min(pauseMs * 1.5, 100)) {
    const left = deadline - clock.now()
    if (left <= 0) return 'timedOut'
    await sleep(clock, Math.min(pauseMs, left))
  }
  return 'gone'
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    // It went by itself. EPERM (a set-uid child) is reported by the survivor check.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}
