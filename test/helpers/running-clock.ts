const TICK_MS = 100
/** As in router/checks.ts: of a tick that comes later than this, no more counts. */
const LONGEST_TICK_MS = 300

/**
 * Time in which this machine runs. A virtual machine may stand still for seconds, with all that is on it, while its clock
 * goes on. The router counts none of that as silence of an instance, so a test of how soon it notices one must not either.
 */
export class RunningClock {
  #ms = 0
  #last = performance.now()
  readonly #timer = setInterval(() => this.now(), TICK_MS)

  /** ms since it was made. */
  now(): number {
    const now = performance.now()
    this.#ms += Math.min(now - this.#last, LONGEST_TICK_MS)
    this.#last = now
    return this.#ms
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}
