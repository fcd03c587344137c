import { readFileSync } from 'node:fs'

/** USER_HZ, which Linux has fixed at 100 for what it shows in /proc. */
const TICKS_PER_SECOND = 100

export type ProcessState = {
  /** R, S, D, T, Z, … as in proc(5). */
  letter: string
  /** CPU time used so far, in seconds. */
  cpuSeconds: number
}

/** @returns null where there is no /proc, or no such process */
export function processState(pid: number): ProcessState | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name before it may hold spaces and brackets.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { letter: fields[0] as string, cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND }
  } catch {
    return null
  }
}
