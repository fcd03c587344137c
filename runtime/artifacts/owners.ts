import { existsSync, readFileSync } from 'node:fs'

const HAS_PROC = existsSync('/proc/self/stat')

/**
 * Whose half-built tree is it? A process writes its pid and start time into the name. The start time matters where
 * pids come round again soon, as in a container, where the next worker may well have the pid of the last.
 */
export function ownerTag(): string {
  return `${process.pid}.${startTime(process.pid) ?? '0'}`
}

/** True when the process that made `name` is not there any more. A name that says nothing has no owner. */
export function ownerIsGone(name: string): boolean {
  const [, pid, started] = /^(\d+)\.(\d+)-/.exec(name) ?? []
  if (pid === undefined) return true
  if (HAS_PROC) return startTime(Number(pid)) !== started
  return !isAlive(Number(pid))
}

/** Clock ticks between boot and the start of the process (proc(5), field 22); null without /proc, or for a zombie. */
function startTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is the name in brackets and may contain anything, so count from its end.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? null : (fields[19] ?? null)
  } catch {
    return null
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
