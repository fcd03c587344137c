import type { Clock } from '../../runtime/clock.ts'

/** A clock that goes on only when a test says so. */
export class FakeClock implements Clock {
  #now: number
  #jumped = 0
  #timers: Array<{ at: number; callback: () => void }> = []

  constructor(now = 1_700_000_000_000) {
    this.#now = now
  }

  now(): number {
    return this.#now + this.#jumped
  }

  elapsed(): number {
    return this.#now
  }

  /** Somebody sets the clock: no time passes. */
  jump(ms: number): void {
    this.#jumped += ms
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#now + ms, callback }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer)
    }
  }

  /** In how many ms each timer is due, the next one first. */
  get due(): number[] {
    return this.#timers.map(({ at }) => at - this.#now).sort((a, b) => a - b)
  }

  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (!next) break
      this.#timers = this.#timers.filter((each) => each !== next)
      this.#now = Math.max(this.#now, next.at)
      next.callback()
    }
    this.#now = end
  }
}
