/** For tests of what runs commands. */
import { readFileSync } from 'node:fs'

/** Gone, or dead and not yet collected by whoever has to. */
export function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return /^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return true
  }
}
