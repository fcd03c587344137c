import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * A group of cgroup v2 that holds one family. No process leaves it by forking, calling setsid or wiping its environment,
 * and the kernel ends all of it at once. Used where our own group may have others below it: as root, or where the system
 * has delegated it to us. Nothing depends on it, so what fails here is passed over.
 */
export type ControlGroup = {
  /** Whether a process is in it, from what /proc says of that. */
  is(path: string): boolean
  /** Puts a process into it; what that forks from then on is in it too. */
  take(pid: number): void
  /** SIGKILL to all that is in it (Linux 5.14 and newer). */
  kill(): void
  /** Once it is empty. What is in use still stays for `sweepControlGroups`. */
  remove(): Promise<void>
}

/** @returns null where there is no cgroup v2. */
export function controlGroup(homeId: string, name: string): ControlGroup | null {
  const own = ownFolder()
  if (own === null) return null
  const path = join(`coppice-${homeId}`, name)
  const folder = join(own, path)
  return {
    // A worker that was started elsewhere made it elsewhere.
    is: (seen) => seen.endsWith(`/${path}`),
    take: (pid) =>
      tolerate(() => {
        mkdirSync(folder, { recursive: true })
        writeFileSync(join(folder, 'cgroup.procs'), String(pid))
      }),
    kill: () => tolerate(() => writeFileSync(join(folder, 'cgroup.kill'), '1', { flag: 'r+' })),
    async remove() {
      for (let pauseMs = 5; removeEmpty(folder) === 'in use' && pauseMs < LAST_PAUSE_MS; pauseMs *= 2)
        await sleep(pauseMs, undefined, { ref: false })
      removeEmpty(dirname(folder))
    },
  }
}

/** Whose processes have ended is in use for as long as the kernel takes to bury them; all pauses together: 0.3 s. */
const LAST_PAUSE_MS = 200

/**
 * Removes the groups of this data directory that nobody is in: of what was killed before it could remove its own, or had
 * processes that did not end. Wherever they lie: an earlier worker may have run in a group of its own. Not to be called
 * where another process may be about to fill one.
 */
export function sweepControlGroups(homeId: string): void {
  const { point } = cgroupMount() ?? {}
  if (point !== undefined) for (const folder of foldersOf(point, homeId)) removeEmpty(folder)
}

/** The deepest first. */
function foldersOf(folder: string, homeId: string): string[] {
  const found: string[] = []
  for (const entry of entriesOf(folder)) {
    const path = join(folder, entry)
    if (entry === `coppice-${homeId}` || entry === `coppice-${homeId}-builds`) found.push(...allBelow(path), path)
    else found.push(...foldersOf(path, homeId))
  }
  return found
}

const allBelow = (folder: string): string[] =>
  entriesOf(folder).flatMap((name) => [...allBelow(join(folder, name)), join(folder, name)])

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
  } catch {
    // It went meanwhile, or is not ours to read.
    return []
  }
}

function removeEmpty(folder: string): 'done' | 'in use' {
  try {
    rmdirSync(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return 'in use'
  }
  return 'done'
}

/** The family of this home that the group, as /proc tells it, is of. */
export function memberOf(path: string, homeId: string): string | undefined {
  const [home, name] = path.split('/').slice(-2)
  return home === `coppice-${homeId}` ? name : undefined
}

/** Where our own group lies in the file system. */
function ownFolder(): string | null {
  const mount = cgroupMount()
  if (mount === null) return null
  const { root, point, own } = mount
  return join(point, root !== '/' && own.startsWith(root) ? own.slice(root.length) : own)
}

function cgroupMount(): { root: string; point: string; own: string } | null {
  try {
    const [, own] = /^0::(\/.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8')) ?? []
    // mountinfo: id, parent, device, root, mount point, options, …, `-`, type
    const mount = /^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 /m.exec(readFileSync('/proc/self/mountinfo', 'utf8'))
    if (own === undefined || mount === null) return null
    const [, root = '/', point = ''] = mount
    return { root, point, own }
  } catch {
    return null
  }
}

function tolerate(work: () => void): void {
  try {
    work()
  } catch {
    // Not ours to write, read-only, still in use, or gone already.
  }
}
