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

/** Why it is asked: a request waits for a byte of it, was answered with 5xx, could not connect. */
type Cause = 'waits' | 'fails' | 'connects'

const LEAST_PAUSE_MS = 1_000
const LONGEST_TRUST_MS = 10_000
/** One that fails with everything is to be out 3 s later (R12.2), which takes two answers to questions. */
const LONGEST_TRUST_IN_FAILING_MS = 1_500
/** One that gave no cause for a question for so long is believed for a second again. */
const TRUST_ENDS_MS = 60_000
/** A connection that gave no answer for so long past the limit may be gone unnoticed: another question is asked. */
const RENEW_MS = 30_000

/**
 * One that answered a question at once which was asked because of its requests is not asked for a while because of
 * others: they are slow, or fail, by themselves. It is believed for a second at first, for twice as long each time, up to
 * a limit: a blocked one is noticed soon, and one whose requests are all slow is not asked all the time.
 */
class Trust {
  private readonly longestMs: number
  private until = Number.NEGATIVE_INFINITY
  private nextMs = LEAST_PAUSE_MS

  constructor(longestMs: number) {
    this.longestMs = longestMs
  }

  holds(now: number): boolean {
    return now < this.until
  }

  /** A question was answered well. */
  answered(now: number, atOnce: boolean): void {
    if (!atOnce || now - this.until > TRUST_ENDS_MS) this.nextMs = LEAST_PAUSE_MS
    if (!atOnce) return
    this.until = now + this.nextMs
    this.nextMs = Math.min(2 * this.nextMs, this.longestMs)
  }

  end(): void {
    this.until = Number.NEGATIVE_INFINITY
    this.nextMs = LEAST_PAUSE_MS
  }
}

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
  /** … for this; null when it was idle. */
  private cause: Cause | null = null
  /** A slow request tells nothing of those that fail, nor they of it. */
  private readonly trust = { waits: new Trust(LONGEST_TRUST_MS), fails: new Trust(LONGEST_TRUST_IN_FAILING_MS) }
  /** The question under way is the only one that waits. */
  private onlyAsked = false
  /** Since when somebody waits for a byte of it; null when nobody is known to. */
  private silentSince: number | null = null
  /** Ask as soon as the pause since the last question allows. */
  private wanted: 'no' | Cause = 'no'

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
    this.trust.waits.end()
    this.trust.fails.end()
    this.heard(now)
    return true
  }

  /** When a byte of it came last, or when it was healthy before it came. */
  get lastHeardAt(): number {
    return this.heardAt
  }

  /** Ask because of a request that waits. */
  get isWaitedFor(): boolean {
    return this.wanted === 'waits'
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
    if (silentMs < this.options.quietMs || this.asking || this.trust.waits.holds(now)) return
    if (now - this.askedAt < LEAST_PAUSE_MS) return
    // Of what it was silent before it was asked no more counts than nobody needs to be asked for: it may have been well.
    this.silentSince ??= now - Math.min(silentMs, this.options.quietMs, this.silenceMs / 2)
    this.wanted = 'waits'
  }

  /** It answered a request with 5xx; perhaps it does so to everybody. */
  answeredBadly(): void {
    if (this.wanted === 'no') this.wanted = 'fails'
  }

  /** A request could not connect. */
  suspected(): void {
    this.wanted = 'connects'
  }

  /** @param trusting the word of the table on who is dead is fresh, so that the dead need not be asked */
  isToBeAsked(now: number, trusting: boolean): boolean {
    const since = now - this.askedAt
    if (this.asking) return since > this.silenceMs + RENEW_MS
    if (!this.up) return !trusting && since >= LEAST_PAUSE_MS
    const refused = this.refusedSince !== null
    if (this.wanted === 'waits' || this.wanted === 'connects') return since >= this.options.confirmMs || !refused
    if (refused || this.unwell || this.badInARow > 0) return since >= this.options.confirmMs
    if (this.wanted === 'fails') return since >= LEAST_PAUSE_MS && !this.trust.fails.holds(now)
    return now - Math.max(this.heardAt, this.askedAt) >= this.options.idleMs
  }

  asked(now: number): void {
    this.cause = this.wanted === 'no' ? null : this.wanted
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
        if (this.cause === 'waits' || this.cause === 'fails')
          this.trust[this.cause].answered(now, now - this.askedAt < this.options.waitMs)
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
