/**
 * Time as the runtime sees it. Passed in (house style 7), so that tests of a five-minute back-off take no five
 * minutes; what waits for the outside world (a port, a process) runs on the real one there too.
 */
export interface Clock {
  /** Unix ms, for what is written down and shown. It may jump. */
  now(): number
  /** ms since some moment, for what is waited for. It never jumps (R13.8). */
  elapsed(): number
  /** Calls back once after `ms`; returns the way to prevent that. Does not keep the process alive. */
  after(ms: number, callback: () => void): () => void
}

export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms).unref()
    return () => clearTimeout(timer)
  },
}

/** Resolves after `ms`, or as soon as the signal is aborted: the caller looks at the signal. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = () => {
      cancel()
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const cancel = clock.after(ms, done)
    signal?.addEventListener('abort', done, { once: true })
  })
}
