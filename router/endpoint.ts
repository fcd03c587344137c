import type { Endpoint as EndpointRow } from '../domain/route-table.ts'
import { formatServedBy } from '../domain/served-by.ts'
import type { Timeouts } from './options.ts'
import { Question } from './question.ts'
import { Connections } from './upstream/connections.ts'
import type { UpstreamHandler, UpstreamRequest } from './upstream/upstream.ts'

/** How often a process tells the primary of an endpoint that fails. */
const TELL_EVERY_MS = 100
/** Longer than an answer takes, shorter than what makes an instance busy. */
const SILENT_MS = 1_000
/** Between its first byte and its closed connections; on a busy machine this process may read the one long after the other. */
const WAKING_MS = 3_000

/** A request without an answer yet that may be sent to another instance: it has not left, or can be repeated. */
export type Repeatable = {
  /** The instance is dead: somebody else shall answer. */
  recall(): void
  /**
   * The instance is silent past its limit, and may well carry the request out: what has left stays here whatever happens,
   * and so does the rest until the instance is given up or dead.
   */
  keep(): void
  /** Where it is in the list of its endpoint; -1 while it is in none. Kept by the endpoint. */
  place: number
}
/** A WebSocket or event stream that has to be told when its instance leaves. */
export type LongLived = {
  leave(): void
  /** ms of performance.now() since when its client waits for a byte; Infinity where it is not known to. */
  unansweredSince(now: number): number
}

/**
 * An instance as one process of the router sees it: where it is, whether it may be used, what it has in flight.
 *
 * States: `serving` gets requests; `draining` finishes those it has; `left` is no longer in the table and is kept only
 * until its last request has ended. The table moves it, never back from `left`.
 */
export class Endpoint {
  readonly instance: string
  readonly slot: number
  readonly address: string
  readonly deployment: string
  state: 'serving' | 'draining' | 'left' = 'serving'
  /** Dead or given up, on the word of the primary (R12.2). Only this and the table replace routing keys (D8). */
  ejected = false
  /** It lets a question wait: its sessions wait with it, new ones go elsewhere. */
  busy = false
  /** Of several that are busy, the one heard of last has the highest. */
  busyRank = 0
  /** It could not be connected to a moment ago (ms of performance.now): others are tried first until then. */
  suspectUntil = 0
  inFlight = 0
  /** When a byte of it came last, and when it last answered a request with 5xx; ms of performance.now(). */
  heardAt = Number.NEGATIVE_INFINITY
  private wokeAt = Number.NEGATIVE_INFINITY
  failedAt = 0
  private unanswered = 0
  private unansweredSince = 0
  /**
   * Requests without an answer yet that another instance could take over. Not a Set: V8 chains the tables that a Set
   * grows through, and once one of them is old, young collections keep all that later ones hold. Requests that come
   * and go then cost 20 ms in every 80 (Node 24), until the next full collection.
   */
  private readonly repeatable: Repeatable[] = []
  readonly longLived = new Set<LongLived>()
  /** The X-Served-By header, ready made. */
  readonly servedBy: string
  private readonly timeouts: Timeouts
  private readonly onSpeaks: (endpoint: Endpoint) => void
  private connections: Connections | null = null
  private toldAt = Number.NEGATIVE_INFINITY
  private onIdle: (() => void) | null = null
  /** Who waits for the answer to the question under way. */
  private readonly doubters: ((lives: boolean) => void)[] = []

  /** @param onSpeaks called with the first byte of one that let others wait */
  constructor(row: EndpointRow, timeouts: Timeouts, onSpeaks: (endpoint: Endpoint) => void) {
    this.instance = row.instance
    this.slot = row.slot
    this.address = row.address
    this.deployment = row.deployment ?? ''
    this.servedBy = formatServedBy({ ...row, deployment: row.deployment || null })
    this.timeouts = timeouts
    this.onSpeaks = onSpeaks
  }

  /** @param repeatable it can be sent again, should its connection turn out to be closed already */
  send(request: UpstreamRequest, repeatable: boolean, handler: UpstreamHandler): void {
    this.connections ??= new Connections(this.address, this.timeouts)
    this.connections.send(request, repeatable, handler)
  }

  /** Whether the primary should hear that a request failed here; it does not need to hear of each. */
  worthTelling(now: number): boolean {
    if (now - this.toldAt < TELL_EVERY_MS) return false
    this.toldAt = now
    return true
  }

  /** A request is for it, and waits from now on: also for a connection, which one that is blocked does not take. */
  began(): void {
    this.inFlight++
    if (this.unanswered++ === 0) this.unansweredSince = performance.now()
  }

  /** It has the head of its answer, or has ended without one. */
  settled(): void {
    this.unanswered--
  }

  ended(): void {
    this.inFlight--
    if (this.inFlight === 0 && this.state !== 'serving') this.onIdle?.()
  }

  drain(onIdle: () => void): void {
    if (this.state === 'serving') this.state = 'draining'
    this.onIdle = onIdle
    if (this.inFlight === 0) onIdle()
  }

  /** The table no longer names it. Idle connections close now, others with their request. */
  leave(onIdle: () => void): void {
    this.state = 'left'
    this.onIdle = onIdle
    this.connections?.close()
    if (this.inFlight === 0) onIdle()
  }

  heard(): void {
    const now = performance.now()
    if (this.unansweredMs(now) >= SILENT_MS) this.wokeAt = now
    this.heardAt = now
    if (this.busy) this.onSpeaks(this)
  }

  /** For how many ms requests, or clients of WebSockets, have waited without a byte for anybody; 0 if none waits. */
  silentMs(now: number): number {
    let since = now
    for (const one of this.longLived) since = Math.min(since, one.unansweredSince(now))
    return Math.max(this.unansweredMs(now), now - Math.max(this.heardAt, since))
  }

  /** The same of requests alone: what each byte asks must not take longer the more WebSockets there are. */
  private unansweredMs(now: number): number {
    return this.unanswered === 0 ? 0 : now - Math.max(this.heardAt, this.unansweredSince)
  }

  /**
   * It lets everybody wait, or did so a moment ago. A server that wakes up closes the connections that by its clock were
   * idle for too long, with all that was sent on them meanwhile; Node's first sends the answer that it was at. It need not
   * be one: all answers of a quiet app may be slow.
   */
  mayBeWaking(now: number): boolean {
    return this.unansweredMs(now) >= SILENT_MS || now - this.wokeAt < WAKING_MS
  }

  /**
   * Asks it, once for all who want to know at the same time. One that lets the question wait lives: it is blocked again,
   * or slow; so does one that this process has no descriptor for.
   */
  asksWhetherItLives(healthPath: string | null, onAnswer: (lives: boolean) => void): void {
    if (this.doubters.push(onAnswer) > 1) return
    const tell = (lives: boolean) => {
      clearTimeout(timer)
      for (const doubter of this.doubters.splice(0)) doubter(lives)
    }
    const question = new Question(this.address, healthPath, (reply) => tell(reply === 'good' || reply === 'none'))
    const timer = setTimeout(() => {
      question.cancel()
      tell(true)
    }, SILENT_MS)
  }

  /** From now on this may be recalled. */
  enlist(attempt: Repeatable): void {
    attempt.place = this.repeatable.push(attempt) - 1
  }

  /** It has its answer, or has ended; the last one takes its place. */
  delist(attempt: Repeatable): void {
    const { place } = attempt
    if (place === -1) return
    attempt.place = -1
    const last = this.repeatable.pop() as Repeatable
    if (last === attempt) return
    this.repeatable[place] = last
    last.place = place
  }

  /** Takes back what a dead instance will never answer. */
  recallAll(): void {
    for (const attempt of [...this.repeatable]) attempt.recall()
  }

  /** What it has was sent for the last time; what it has not yet leaves it if it is ejected. */
  keepAll(): void {
    for (const attempt of [...this.repeatable]) attempt.keep()
  }
}
