import { outliveStandardStreams } from '../logging/line-output.ts'

const SIGNALS = [
  ['SIGINT', 2],
  ['SIGTERM', 15],
  ['SIGHUP', 1],
] as const

/** npm passes on the signals that the terminal has sent to all of them already, so one Ctrl-C may arrive twice. */
const SAME_SIGNAL_MS = 1_000

/**
 * What a person or a terminal does to end a program early: Ctrl-C, `kill`, a window that is closed. The first signal asks
 * for an orderly end, a second one that is meant as such ends at once.
 *
 * @param left what becomes of that which runs then, as the rest of a sentence
 */
export function onInterruption(stop: () => void, left: () => string): void {
  let first: number | null = null
  for (const [name, number] of SIGNALS) {
    process.on(name, () => {
      if (first === null) {
        first = performance.now()
        stop()
      } else if (performance.now() - first > SAME_SIGNAL_MS) {
        process.stderr.write(`\nEnded without waiting; ${left()}\n`)
        process.exit(128 + number)
      }
    })
  }
  // A terminal that is closed takes nothing any more (EIO), and that must not end who tidies up.
  outliveStandardStreams()
}

/** Work that may take minutes (a tool that is built, a deployment): nobody who has pressed Ctrl-C waits for that. */
export function orAborted<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return work
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(signal.reason)
    if (signal.aborted) giveUp()
    signal.addEventListener('abort', giveUp, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp))
  })
}
