import { readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Whether a path is the same directory for a process as for us: in a container, or another mount namespace, another disk may
 * well be mounted at the same path. Told from what the kernel writes down of mounts. To look through /proc/PID/root would
 * ask a file system that an app may have mounted there itself, and that need never answer.
 *
 * Where the kernel does not say (macOS, a process that has gone) a path is taken for what it reads.
 */

/** One of these paths, which the kernel tells of a process, as its working directory. */
export function isHere(pid: number, paths: readonly string[]): boolean {
  // What it tells of a root that was changed is as we see it, and of the mounts as from that root.
  return sharesMounts(pid) || rootOf(pid) !== '/' || paths.some((path) => isMountedAlike(pid, path))
}

/** One of these paths, which a process was told itself, as by its environment: they count from its own root. */
export function meansOurs(pid: number, paths: readonly string[]): boolean {
  const root = rootOf(pid)
  return sharesMounts(pid)
    ? paths.some((path) => isWithin(path, root))
    : paths.some((path) => isMountedAlike(pid, path))
}

function sharesMounts(pid: number): boolean {
  const theirs = linkOr(`/proc/${pid}/ns/mnt`, null)
  return theirs === null || theirs === linkOr('/proc/self/ns/mnt', null)
}

const rootOf = (pid: number): string => linkOr(`/proc/${pid}/root`, '/')

function isMountedAlike(pid: number, path: string): boolean {
  const [theirs, ours] = [`${pid}`, 'self'].map((one) => whereOnDisk(path, mountsIn(one)))
  return theirs === null || ours === null || theirs === ours
}

type Mount = { id: string; over: string; disk: string; root: string; point: string }

/** proc(5): `id parent major:minor root point …`, with octal numbers for what would part them. */
export function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [id, over, disk, root, point] = line.split(' ').map(unescaped)
    if (id === undefined || over === undefined || disk === undefined) return []
    return root === undefined || point === undefined ? [] : [{ id, over, disk, root, point }]
  })
}

const unescaped = (word: string): string =>
  word.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))

/** The disk of a path and the path there; null where no mount that it lies on is seen. */
export function whereOnDisk(path: string, mounts: readonly Mount[]): string | null {
  const ids = new Set(mounts.map(({ id }) => id))
  let found = mounts.find(({ id, over, point }) => point === '/' && (over === id || !ids.has(over)))
  // Down from the root, as the kernel goes: what was mounted below a folder is hidden by what is mounted upon it later.
  for (let next = found; next !== undefined; ) {
    found = next
    const on = found
    next = mounts
      .filter(({ id, over, point }) => over === on.id && id !== on.id && isWithin(path, point))
      .sort((a, b) => a.point.length - b.point.length)[0]
  }
  return found === undefined ? null : `${found.disk} ${join(found.root, path.slice(found.point.length))}`
}

const isWithin = (path: string, folder: string): boolean =>
  folder === '/' || path === folder || path.startsWith(`${folder}/`)

function mountsIn(process: string): Mount[] {
  try {
    return parseMounts(readFileSync(`/proc/${process}/mountinfo`, 'utf8'))
  } catch {
    return []
  }
}

function linkOr<T>(path: string, otherwise: T): string | T {
  try {
    return readlinkSync(path)
  } catch {
    return otherwise
  }
}
