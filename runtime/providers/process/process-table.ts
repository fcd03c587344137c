import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { uptime } from 'node:os'
import { promisify } from 'node:util'
import { isHere } from './mounts.ts'

/**
 * What the kernel says about processes. A pid alone names nobody, because pids are used again; pid and start time
 * together do. A zombie answers `kill(pid, 0)` for ever where no init reaps (containers), so it counts as dead.
 */
export type ProcessRow = {
  pid: number
  parent: number
  group: number
  session: number
  /** Opaque; equal for the same process, different for another one that got its pid. */
  startTime: string
  zombie: boolean
  /** By a signal (SIGSTOP, SIGTSTP), or by a debugger: it does nothing until it is let go on. */
  stopped: boolean
  /**
   * SIGKILL has reached it and it is still there: in uninterruptible sleep, waiting for a disk, a network file system or a
   * frozen control group. It runs nothing of its own any more, and is gone once the kernel lets it go. Never where the
   * kernel does not say (macOS).
   */
  doomed: boolean
}

export interface ProcessTable {
  /** The process, dead or alive; null when there is none. */
  row(pid: number): Promise<ProcessRow | null>
  /** All processes; those of `except` need not be among them. */
  rows(except?: ReadonlySet<number>): Promise<ProcessRow[]>
  /** Opaque; the same at two looks at a stopped process only if it has not run in between. */
  progress(pid: number): Promise<string>
  /** Processes that were started with all these variables, and their values, none of which may hold white space. */
  tagged(names: string[]): Promise<Tagged[]>
  /**
   * Where those processes are that one may look into; none where the kernel does not say (macOS).
   *
   * @param folder a real path, there or not; null for whom no folder is of interest
   */
  places(folder: string | null): Promise<Place[]>
}

export type Place = {
  pid: number
  /** Working directory and root, as far as they lie in the folder that is asked for; of a removed one what it was called. */
  folders: string[]
  /** Its group of cgroup v2, e.g. `/user.slice`; empty where there is none. */
  controlGroup: string
  /** Somebody sits before it. */
  hasTerminal: boolean
}

export type Tagged = { pid: number; values: Record<string, string> }

export async function isAlive(table: ProcessTable, pid: number, startTime: string): Promise<boolean> {
  const row = await table.row(pid)
  return row !== null && !row.zombie && row.startTime === startTime
}

export function systemProcessTable(platform: NodeJS.Platform = process.platform): ProcessTable {
  return platform === 'linux' ? procTable() : psTable()
}

// ---- Linux: /proc ----------------------------------------------------------------------------------------------

/** Reads are synchronous: /proc never blocks on a disk, and one pass of ten µs a process is nearly a snapshot. */
function procTable(): ProcessTable {
  // Ticks since boot mean nothing after the next boot.
  const boot = readOr('/proc/sys/kernel/random/boot_id', '').trim().slice(0, 8)
  const row = (pid: number): ProcessRow | null => parseStat(readOr(`/proc/${pid}/stat`, ''), boot)
  const pids = () =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
  return {
    row: async (pid) => row(pid),
    rows: async (except) =>
      pids()
        .filter((pid) => !except?.has(pid))
        .map(row)
        .filter((found) => found !== null),
    // Each time it goes on and is stopped again it is switched to and away.
    progress: async (pid) =>
      readOr(`/proc/${pid}/status`, '')
        .match(/ctxt_switches:\s*\d+/g)
        ?.join() ?? '',
    tagged: async (names) =>
      pids().flatMap((pid) => {
        const text = readOr(`/proc/${pid}/environ`, '')
        if (!text.includes(`${names[0]}=`)) return []
        return tag(pid, text.split('\0'), names)
      }),
    places: async (folder) => pids().map((pid) => place(pid, folder)),
  }
}

function place(pid: number, folder: string | null): Place {
  const [, controlGroup = ''] = /^0::(.*)$/m.exec(readOr(`/proc/${pid}/cgroup`, '')) ?? []
  // proc(5), field 7: the number of its terminal.
  const [, , , , terminal] = afterName(readOr(`/proc/${pid}/stat`, ''))
  const folders = folder === null ? [] : foldersWithin(folder, pid)
  return { pid, folders, controlGroup, hasTerminal: terminal !== undefined && terminal !== '0' }
}

function foldersWithin(folder: string, pid: number): string[] {
  const found = ['cwd', 'root'].flatMap((name) => {
    const path = linkOr(`/proc/${pid}/${name}`)
    return path !== null && isWithin(path, folder) ? [path] : []
  })
  return found.length > 0 && isHere(pid, [folder, ...found]) ? found : []
}

const isWithin = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(`${folder}/`) || path === `${folder} (deleted)`

const afterName = (stat: string): string[] => stat.slice(stat.lastIndexOf(')') + 2).split(' ')

function tag(pid: number, environment: string[], names: string[]): Tagged[] {
  const values: Record<string, string> = {}
  for (const name of names) {
    const found = environment.find((entry) => entry.startsWith(`${name}=`))
    if (found === undefined) return []
    values[name] = found.slice(name.length + 1)
  }
  return [{ pid, values }]
}

/** proc(5): `pid (comm) state ppid pgrp session … starttime` with start time as field 22; comm may hold anything. */
export function parseStat(text: string, boot: string): ProcessRow | null {
  if (!text.includes(')')) return null
  const fields = afterName(text)
  const [state, parent, group, session] = fields
  const ticks = fields[19]
  if (ticks === undefined) return null
  return {
    pid: Number.parseInt(text, 10),
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    startTime: `${boot}:${ticks}`,
    // X: dead, for the instant in which it is taken out of the table.
    zombie: state === 'Z' || state === 'X',
    stopped: state === 'T' || state === 't',
    doomed: isKillPending(fields[28]),
  }
}

/** proc(5): start times count ticks of sysconf(_SC_CLK_TCK), which is 100 wherever Node runs. */
const TICK_MS = 10

/**
 * How long a process of this boot has run, in ms, by a clock that nobody sets; null where that cannot be told (macOS; a
 * container that is told another time since boot than its processes).
 */
export function ageMs(startTime: string, uptimeMs: number = uptime() * 1_000): number | null {
  const [, ticks] = /^[^:]*:(\d+)$/.exec(startTime) ?? []
  const age = uptimeMs - Number(ticks) * TICK_MS
  // What has only just begun may seem not to have.
  return age > -1_000 ? Math.max(age, 0) : null
}

/** proc(5), field 31: signals that wait to be delivered, a bit each. To SIGKILL the kernel adds it for every thread. */
const isKillPending = (pending = '0'): boolean => (BigInt(pending) & SIGKILL_BIT) !== 0n
const SIGKILL_BIT = 1n << 8n

/** Processes go while one looks at them (ENOENT, ESRCH), and some are not ours to read (EACCES, EPERM). */
function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return otherwise
  }
}

function linkOr(path: string): string | null {
  try {
    return readlinkSync(path)
  } catch {
    return null
  }
}

// ---- macOS and others: ps --------------------------------------------------------------------------------------

const run = promisify(execFile)
const PS_COLUMNS = 'pid=,ppid=,pgid=,sess=,stat=,lstart='

function psTable(): ProcessTable {
  const ps = async (args: string[]): Promise<string> => {
    try {
      const { stdout } = await run('ps', args, { env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' }, maxBuffer: 1 << 26 })
      return stdout
    } catch (error) {
      // Exit code 1: no such process.
      if ((error as { code?: unknown }).code === 1) return ''
      throw error
    }
  }
  return {
    row: async (pid) => parsePs(await ps(['-o', PS_COLUMNS, '-p', String(pid)]))[0] ?? null,
    rows: async () => parsePs(await ps(['-axo', PS_COLUMNS])),
    progress: (pid) => ps(['-o', 'time=', '-p', String(pid)]),
    // -E appends the environment to the command.
    tagged: async (names) => parsePsEnvironments(await ps(['-axEww', '-o', 'pid=,command=']), names),
    places: async () => [],
  }
}

export function parsePs(text: string): ProcessRow[] {
  return text.split('\n').flatMap((line) => {
    const [pid, parent, group, session, state, ...started] = line.trim().split(/\s+/)
    if (!pid || !state || started.length === 0) return []
    return [
      {
        pid: Number(pid),
        parent: Number(parent),
        group: Number(group),
        // Hexadecimal or 0 on macOS, where nothing is decided by it.
        session: Number.parseInt(session ?? '', 10) || 0,
        startTime: started.join(' '),
        zombie: state.startsWith('Z'),
        stopped: state.startsWith('T'),
        doomed: false,
      },
    ]
  })
}

export function parsePsEnvironments(text: string, names: string[]): Tagged[] {
  return text.split('\n').flatMap((line) => {
    const [pid, ...words] = line.trim().split(/\s+/)
    return tag(Number(pid), words, names)
  })
}
