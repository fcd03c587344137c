import { readFileSync, statSync, utimesSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Whether the processes serve, as seen from outside: `until…` resolve when they do, and reject with their signal. */

const FIRST_PAUSE_MS = 25
const LONGEST_PAUSE_MS = 250
const ANSWER_TIMEOUT_MS = 2_000

/** Polls fast at first, so that what starts fast is found fast. */
export async function until(holds: () => Promise<boolean> | boolean, signal: AbortSignal): Promise<void> {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)) {
    signal.throwIfAborted()
    if (await holds()) return
    await sleep(pause, undefined, { signal })
  }
}

/** Anything but a server's error counts: a router that knows no app of that name answers 404. */
export function untilHttp(url: string, accepts: (status: number) => boolean, signal: AbortSignal): Promise<void> {
  return until(async () => {
    try {
      const answer = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) })
      await answer.arrayBuffer()
      return accepts(answer.status)
    } catch {
      return false
    }
  }, signal)
}

/** The process writes its pid into the file once it does its work; an older pid is that of a predecessor. */
export function untilReadyFile(file: string, pid: number, signal: AbortSignal): Promise<void> {
  return until(() => {
    try {
      return readFileSync(file, 'utf8').trim() === String(pid)
    } catch {
      return false
    }
  }, signal)
}

/** Whether a process has touched its ready file lately; one that is not there, or another's, says nothing. */
export function touchedLately(file: string, pid: number, withinMs: number): boolean {
  try {
    if (readFileSync(file, 'utf8').trim() !== String(pid)) return true
    // Either way: where the clock was set back the last touch lies in the future, and says nothing about now.
    if (Math.abs(Date.now() - statSync(file).mtimeMs) < withinMs) return true
    // Where nothing can be touched (a disk that was made read-only after an error) it says nothing either.
    utimesSync(dirname(file), new Date(), new Date())
    return false
  } catch {
    return true
  }
}
