import { Pool } from 'undici'
import type { Endpoint as EndpointRow } from '../domain/route-table.ts'
import type { Timeouts } from './options.ts'

/** Something in flight that can be taken back from a hung instance and sent to another. */
export type Recallable = { recall(): void }
/** A WebSocket or event stream that has to be told when its instance leaves. */
export type LongLived = { leave(): void }

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
  /** Ejected by the active checks of the primary. Only this and the table replace routing keys (D8). */
  ejected = false
  /** A connect failed here a moment ago (ms of performance.now): others are tried first until then. */
  suspectUntil = 0
  inFlight = 0
  /** When it last answered a request; ms since 1970, because the primary compares it with a clock of its own. */
  answeredAt = 0
  /** Requests without an answer yet that another instance could take over. */
  readonly recallable = new Set<Recallable>()
  readonly longLived = new Set<LongLived>()
  /** The X-Served-By header, ready made. */
  readonly servedBy: string
  private readonly timeouts: Timeouts
  private reused: Pool | null = null
  private fresh: Pool | null = null
  private onIdle: (() => void) | null = null

  constructor(row: EndpointRow, timeouts: Timeouts) {
    this.instance = row.instance
    this.slot = row.slot
    this.address = row.address
    this.deployment = row.deployment ?? ''
    this.servedBy = `${row.instance}; slot=${row.slot}${row.deployment ? `; deployment=${row.deployment}` : ''}`
    this.timeouts = timeouts
  }

  /**
   * Connections for a request. An app may close an idle connection without a word, and what was just sent on it is
   * lost; a request that can be repeated takes that risk, one that cannot only on connections idle for under a second
   * (D10: 734 of 8,000 POSTs failed otherwise).
   */
  pool(repeatable: boolean): Pool {
    if (repeatable) {
      this.reused ??= this.connections(1500, 60_000)
      return this.reused
    }
    this.fresh ??= this.connections(900, 900)
    return this.fresh
  }

  private connections(keepAliveTimeout: number, keepAliveMaxTimeout: number): Pool {
    return new Pool(`http://${this.address}`, {
      keepAliveTimeout,
      keepAliveMaxTimeout,
      // A "Keep-Alive: timeout=5" of the app means: not used any more after 4 s.
      keepAliveTimeoutThreshold: 1000,
      headersTimeout: this.timeouts.firstByteMs,
      bodyTimeout: 0,
      connectTimeout: this.timeouts.connectMs,
      maxHeaderSize: 64 * 1024,
      allowH2: false,
      pipelining: 1,
    })
  }

  began(): void {
    this.inFlight++
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
    void this.reused?.close()
    void this.fresh?.close()
    if (this.inFlight === 0) onIdle()
  }

  /** Takes back what a hung instance will never answer (R12.2). */
  recallAll(): void {
    for (const attempt of [...this.recallable]) attempt.recall()
  }
}
