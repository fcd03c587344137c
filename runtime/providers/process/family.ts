import { type Clock, sleep } from '../../clock.ts'
import type { ControlGroup } from './control-group.ts'
import type { ProcessRow, ProcessTable } from './process-table.ts'

/** The process that was started; all that it forks is found from it, or by the mark in the environment. */
export type Leader = { pid: number; startTime: string }

export type FamilyOptions = {
  table: ProcessTable
  /** Variables that all of them were started with. */
  mark: Readonly<Record<string, string>>
  /** Whoever works in it, or has it as root, is one of them; a real path. Null for a family without one. */
  folder: string | null
  /** Its group of cgroup v2, where there may be one. */
  controlGroup: ControlGroup | null
  /** Null when nobody wrote down who it is. */
  leader: Leader | null
  /** Members that were seen before, as pid → start time: in the middle of an exec a process shows no environment. */
  known?: ReadonlyMap<number, string>
}

/**
 * The living processes of an instance or a build: its process group, its control group, whatever carries its mark
 * (children that called setsid) or works in its folder (daemons that wiped their environment), and all their descendants.
 * Where there are no control groups, a process that leaves all of that behind is out of reach; the process tier cannot do
 * better (docs/security.md).
 *
 * Who has a terminal is a person who looks around in the folder, and we ourselves may have been started there.
 */
export async function familyOf(options: FamilyOptions): Promise<ProcessRow[]> {
  const { table, leader, folder, mark } = options
  const tagged = await table.tagged(Object.keys(mark))
  const own = new Set(
    tagged
      .filter(({ values }) => Object.entries(mark).every(([name, value]) => values[name] === value))
      .map(({ pid }) => pid),
  )
  for (const { pid, folders, controlGroup, hasTerminal } of await table.places(folder)) {
    const works = !hasTerminal && folders.length > 0
    if (works || options.controlGroup?.is(controlGroup)) own.add(pid)
  }
  const rows = await table.rows()
  const inGroup = leader ? groupTest(rows, leader) : () => false
  const isKnown = (row: ProcessRow) => options.known?.get(row.pid) === row.startTime
  const ourselves = ancestry(rows, process.pid)
  const members = rows.filter((row) => !ourselves.has(row.pid) && (own.has(row.pid) || inGroup(row) || isKnown(row)))
  const family = new Set(members.map(({ pid }) => pid))
  for (let before = -1; before < family.size; ) {
    before = family.size
    for (const row of rows) if (family.has(row.parent)) family.add(row.pid)
  }
  return rows.filter((row) => family.has(row.pid) && !row.zombie && !ourselves.has(row.pid))
}

function ancestry(rows: ProcessRow[], pid: number): Set<number> {
  const parents = new Map(rows.map((row) => [row.pid, row.parent]))
  const found = new Set<number>()
  for (let at: number | undefined = pid; at !== undefined && !found.has(at); at = parents.get(at)) found.add(at)
  return found
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
/** The same for one that SIGKILL had reached before: at an earlier attempt, or a moment ago. */
const DOOMED_TIMEOUT_MS = 3_000

/**
 * SIGTERM to the group, `graceMs`, then SIGKILL to the group and to everything else of the family, until nothing of
 * it is left.
 *
 * @returns whom the kernel does not let go; none, as a rule.
 */
export async function endFamily(options: FamilyOptions & { graceMs: number; clock: Clock }): Promise<ProcessRow[]> {
  const { clock, leader } = options
  const known = new Map<number, string>()
  const look = async () => {
    const family = await familyOf({ ...options, known })
    for (const row of family) known.set(row.pid, row.startTime)
    return family
  }
  const family = await look()
  if (family.length === 0) return []
  const doomedBefore = new Set(family.filter(({ doomed }) => doomed).map(({ pid }) => pid))
  const canEnd = family.filter(({ pid }) => !doomedBefore.has(pid))
  // Children that left the group of an app have no grace of their own: once the group is gone they are leftovers.
  const group = canEnd.filter((row) => row.group === leader?.pid)
  if (options.graceMs > 0 && leader && group.length > 0) {
    signal(-leader.pid, 'SIGTERM')
    // A stopped process takes no SIGTERM until it goes on.
    signal(-leader.pid, 'SIGCONT')
    await untilGone(() => groupLives(options.table, leader), options.graceMs, clock)
  }
  if (options.graceMs > 0 && !leader && canEnd.length > 0) {
    for (const { pid } of canEnd) signal(pid, 'SIGTERM')
    await untilGone(async () => (await look()).some((row) => !row.doomed), options.graceMs, clock)
  }
  const kill = async () => {
    const rest = await look()
    // First all at once, so that whoever forks faster than we look gets away with nothing.
    options.controlGroup?.kill()
    if (leader && rest.some((row) => row.group === leader.pid)) signal(-leader.pid, 'SIGKILL')
    for (const { pid } of rest) signal(pid, 'SIGKILL')
    return rest
  }
  const others = async () => (await kill()).some(({ pid }) => !doomedBefore.has(pid))
  if ((await untilGone(others, KILL_TIMEOUT_MS, clock)) === 'timedOut') return look()
  const any = async () => (await kill()).length > 0
  return (await untilGone(any, DOOMED_TIMEOUT_MS, clock)) === 'gone' ? [] : look()
}

/** The leader is one file to read; the whole table is looked through only once it has gone. */
async function groupLives(table: ProcessTable, leader: Leader): Promise<boolean> {
  const row = await table.row(leader.pid)
  if (row && !row.zombie && !row.doomed && row.startTime === leader.startTime) return true
  const rows = await table.rows()
  const inGroup = groupTest(rows, leader)
  return rows.some((member) => inGroup(member) && !member.zombie && !member.doomed)
}

/** What people are told of those that are left. */
export function stillThere(left: ProcessRow[]): string {
  const pids = left.map(({ pid }) => pid).join(', ')
  return `the processes ${pids} do not end on SIGKILL: ${
    left.every(({ doomed }) => doomed)
      ? 'the kernel waits with them for something, and they end when it goes on'
      : 'they may not be ended by us'
  }`
}

async function untilGone(lives: () => Promise<boolean>, timeoutMs: number, clock: Clock): Promise<'gone' | 'timedOut'> {
  const deadline = clock.elapsed() + timeoutMs
  for (let pauseMs = 2; await lives(); pauseMs = Math.min(pauseMs * 1.5, 100)) {
    const left = deadline - clock.elapsed()
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
