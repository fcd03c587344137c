import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

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
  /** Once it is empty. */
  remove(): void
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
    remove: () =>
      tolerate(() => {
        rmdirSync(folder)
        rmdirSync(dirname(folder))
      }),
  }
}

/** The family of this home that the group, as /proc tells it, is of. */
export function memberOf(path: string, homeId: string): string | undefined {
  const [home, name] = path.split('/').slice(-2)
  return home === `coppice-${homeId}` ? name : undefined
}

/** Where our own group lies in the file system. */
function ownFolder(): string | null {
  try {
    const [, path] = /^0::(\/.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8')) ?? []
    // mountinfo: id, parent, device, root, mount point, options, …, `-`, type
    const mount = /^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 /m.exec(readFileSync('/proc/self/mountinfo', 'utf8'))
    if (path === undefined || mount === null) return null
    const [, root = '/', point = ''] = mount
    return join(point, root !== '/' && path.startsWith(root) ? path.slice(root.length) : path)
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
