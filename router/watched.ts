import type { CheckOptions } from './options.ts'
import type { Reply } from './question.ts'

/**
 * How an instance is (R12.2). Time moves it from `well` to `busy` to `silent`, and any byte of it back to `well`; answers
 * to questions make it `unwell` and well again; `dead` is what it is on evidence: the worker's word, or a port that
 * refuses.
 *
 * - `busy`: a question has waited for longer than a second. A blocked event loop is not dead: nothing is moved.
 * - `silent`: no byte for as long as its app allows. Time alone decides here, so nothing in flight is repeated.
 * - `unwell`: two questions in a row were answered badly.
 */
export type Condition = 'well' | 'busy' | 'silent' | 'unwell' | 'dead'

const LEAST_PAUSE_MS = 1_000
/**
 * One that answered a question at once which was asked because of its requests is not asked for a while because of
 * others: they are slow, or fail, by themselves. It is believed for a second at first, for twice as long each time, and
 * at most for this long: a blocked one is noticed soon, and one whose requests are all slow is not asked all the time.
 */
const LONGEST_TRUST_MS = 10_000
/** One that gave no cause for a question for so long is believed for a second again. */
const TRUST_ENDS_MS = 60_000
/** A connection that gave no answer for so long past the limit may be gone unnoticed: another question is asked. */
const RENEW_MS = 30_000

/** All times are those of one clock, in ms, which the caller moves. */
export class Watched {
  healthPath: string | null
  silenceMs: number
  private readonly options: CheckOptions
  /** On the worker's word. */
  private up: boolean
  /** Since when its port refuses; null when it does not. */
  private refusedSince: number | null = null
  private unwell = false
  private badInARow = 0
  private goodInARow = 0
  private heardAt: number
  private askedAt = Number.NEGATIVE_INFINITY
  /** A question is under way … */
  private asking = false
  /** … because of its requests. */
  private doubted = false
  private trustedUntil = Number.NEGATIVE_INFINITY
  private trustMs = LEAST_PAUSE_MS
  /** The question under way is the only one that waits. */
  private onlyAsked = false
  /** Since when somebody waits for a byte of it; null when nobody is known to. */
  private silentSince: number | null = null
  /** Ask as soon as the pause since the last question allows. */
  private wanted: 'no' | 'soon' | 'now' = 'no'

  constructor(now: number, row: { healthPath: string | null; silenceMs: number; up: boolean }, options: CheckOptions) {
    this.options = options
    this.healthPath = row.healthPath
    this.silenceMs = row.silenceMs
    this.up = row.up
    // Healthy a moment ago, or it would not be in the table.
    this.heardAt = now
  }

  /**
   * The word of the table. What was found out before says nothing about an instance that died or came back.
   * @returns whether a question that is under way has lost its meaning
   */
  told(now: number, up: boolean): boolean {
    if (up === this.up) return false
    this.up = up
    this.refusedSince = null
    this.unwell = false
    this.badInARow = 0
    this.goodInARow = 0
    this.wanted = 'no'
    this.asking = false
    this.trustedUntil = Number.NEGATIVE_INFINITY
    this.trustMs = LEAST_PAUSE_MS
    this.heard(now)
    return true
  }

  /** When a byte of it came last, or when it was healthy before it came. */
  get lastHeardAt(): number {
    return this.heardAt
  }

  /** A byte of it has come, whoever it was for. */
  heard(now: number): void {
    this.heardAt = now
    this.silentSince = this.asking ? now : null
  }

  /** A request has waited for `waitedMs` without a byte of it. */
  waits(now: number, waitedMs: number): void {
    // Another process may have heard of it since.
    const silentMs = Math.min(waitedMs, now - this.heardAt)
    if (silentMs < this.options.quietMs || this.asking || now < this.trustedUntil) return
    if (now - this.askedAt < LEAST_PAUSE_MS) return
    this.silentSince = now - silentMs
    this.wanted = 'now'
  }

  /** It answered a request with 5xx; perhaps it does so to everybody. */
  answeredBadly(): void {
    if (this.wanted === 'no') this.wanted = 'soon'
  }

  /** A request could not connect. */
  suspected(): void {
    this.wanted = 'now'
  }

  /** @param trusting the word of the table on who is dead is fresh, so that the dead need not be asked */
  isToBeAsked(now: number, trusting: boolean): boolean {
    const since = now - this.askedAt
    if (this.asking) return since > this.silenceMs + RENEW_MS
    if (!this.up) return !trusting && since >= LEAST_PAUSE_MS
    const refused = this.refusedSince !== null
    if (this.wanted === 'now') return since >= this.options.confirmMs || !refused
    if (refused || this.unwell || this.badInARow > 0) return since >= this.options.confirmMs
    if (this.wanted === 'soon') return since >= LEAST_PAUSE_MS && now >= this.trustedUntil
    return now - Math.max(this.heardAt, this.askedAt) >= this.options.idleMs
  }

  asked(now: number): void {
    this.doubted = this.wanted !== 'no'
    this.wanted = 'no'
    this.asking = true
    this.askedAt = now
    this.onlyAsked = this.silentSince === null
    this.silentSince ??= now
  }

  replied(now: number, reply: Reply): void {
    this.asking = false
    switch (reply) {
      case 'none':
        if (this.onlyAsked) this.silentSince = null
        return
      case 'refused':
        this.refusedSince ??= now
        this.silentSince = null
        return
      case 'good':
        // Asked although the table calls it dead: the table is old.
        this.up = true
        this.refusedSince = null
        this.badInARow = 0
        this.goodInARow++
        if (this.goodInARow >= 2) this.unwell = false
        if (this.doubted) this.trust(now)
        break
      case 'bad':
        // Whoever answers badly is there.
        this.refusedSince = null
        this.goodInARow = 0
        this.badInARow++
        if (this.badInARow >= 2) this.unwell = true
        break
    }
    this.heard(now)
  }

  /** A question because of its requests was answered well. */
  private trust(now: number): void {
    const atOnce = now - this.askedAt < this.options.waitMs
    if (!atOnce || now - this.trustedUntil > TRUST_ENDS_MS) this.trustMs = LEAST_PAUSE_MS
    if (!atOnce) return
    this.trustedUntil = now + this.trustMs
    this.trustMs = Math.min(2 * this.trustMs, LONGEST_TRUST_MS)
  }

  /** Nobody says that its process is gone, and its port has refused for longer than it may be silent. */
  isUnreachable(now: number): boolean {
    return this.up && this.refusedSince !== null && now - this.refusedSince >= this.silenceMs
  }

  condition(now: number): Condition {
    if (!this.up || this.refusedSince !== null) return 'dead'
    if (this.silentSince !== null && now - this.silentSince >= this.silenceMs) return 'silent'
    if (this.unwell) return 'unwell'
    const waits = this.asking && now - Math.max(this.askedAt, this.heardAt) >= this.options.waitMs
    return waits ? 'busy' : 'well'
  }
}
