/**
 * Notices when the system's clock was set, or the machine slept: then it has moved against the one that only ever counts.
 * Time-outs here do not follow it; times in histories and logs, back-offs that were written down and certificates do.
 */
export type ClockJump = {
  /** How far it jumped, in ms; less than 0 is back. */
  byMs: number
  agoMs: number
}

/** A time service slews by less; what this much changes nobody sees. */
const JUMP_MS = 5_000
/** After that it is history. */
const REMEMBERED_MS = 3_600_000

export class ClockWatch {
  readonly #wall: () => number
  readonly #steady: () => number
  #offset: number
  #last: { byMs: number; at: number } | null = null

  /** @param wall Unix ms; @param steady ms from some moment on, as `performance.now` counts */
  constructor(wall: () => number, steady: () => number) {
    this.#wall = wall
    this.#steady = steady
    this.#offset = wall() - steady()
  }

  /** To be called about once a second. */
  look(): void {
    const offset = this.#wall() - this.#steady()
    const byMs = offset - this.#offset
    this.#offset = offset
    if (Math.abs(byMs) >= JUMP_MS) this.#last = { byMs, at: this.#steady() }
  }

  /** The last one of the last hour. */
  get jump(): ClockJump | null {
    if (this.#last === null) return null
    const agoMs = this.#steady() - this.#last.at
    return agoMs > REMEMBERED_MS ? null : { byMs: this.#last.byMs, agoMs }
  }
}
