import type { RequestHandler } from 'express'
import { answer } from './answer.ts'
import { Attempt, type AttemptOwner, type AttemptParts, type Outcome } from './attempt.ts'
import type { Chooser } from './choose.ts'
import type { Endpoint } from './endpoint.ts'
import type { Exchange } from './exchange.ts'
import { isSecure } from './identify.ts'
import type { RouterOptions } from './options.ts'
import { codeOf, isOwnError } from './own-errors.ts'
import { REFUSALS, type Refusal } from './refusal.ts'
import { BodyFailure, RequestBody } from './request-body.ts'
import type { RequestHead } from './request-head.ts'
import { isSlowConnect, type UpstreamRequest } from './upstream/upstream.ts'
import type { WaitingRoom } from './waiting-room.ts'

/** An endpoint that refused a connection is asked last for so long; the active check, asked at once, decides the rest. */
const SUSPECT_MS = 1000
/** Longer than the processes of an instance that are killed together outlive each other. */
const DYING_MS = 100
/** Of those that leave for an instance; connects that fail have no such bound. */
const MAX_RUNS = 2

/**
 * After these a request that was sent may be sent once more: its connection was lost. An answer that cannot be parsed is
 * an answer, and one that does not come in time may still be worked on.
 */
const LOST = new Set(['UPSTREAM_CLOSED', 'ECONNRESET', 'EPIPE'])

export type ForwardParts = AttemptParts & {
  options: RouterOptions
  chooser: Chooser
  room: WaitingRoom
  suspect(endpoint: Endpoint): void
}

/** Fourth in the chain: gets the answer of an endpoint to the client; goes on when the client has it, or has gone. */
export function forward(parts: ForwardParts): RequestHandler {
  return (req, res, next) => {
    const exchange = req.exchange
    exchange.inHand = true
    // While the request waited for an instance: it is counted, and goes nowhere.
    if (exchange.clientGone) {
      next()
      return
    }
    const turn = new Turn(exchange, parts)
    let over = false
    res.on('close', () => {
      // A tunnel says so itself, though its connection may have been closed before.
      if (over) return
      over = true
      if (!res.writableFinished) exchange.clientGone = true
      turn.clientClosed()
      next()
    })
    if (req.url === '*' && exchange.refusal === null) {
      if (parts.stopping()) res.shouldKeepAlive = false
      res.writeHead(200, ['content-length', '0']).end()
    } else turn.go()
  }
}

/** The attempts of one request, one after the other (D10). */
class Turn implements AttemptOwner {
  private readonly exchange: Exchange
  private readonly parts: ForwardParts
  private readonly body: RequestBody | null
  private attempt: Attempt | null = null
  private request: UpstreamRequest | null = null
  /** ms of performance.now() since when it connects to the same endpoint; 0 while no connect took too long. */
  private connectingSince = 0

  constructor(exchange: Exchange, parts: ForwardParts) {
    const { limits, timeouts } = parts.options
    this.exchange = exchange
    this.parts = parts
    this.body = exchange.hasBody
      ? new RequestBody(exchange.req, limits.maxBodyBytes, timeouts.requestBodyIdleMs, parts.bulk)
      : null
  }

  go(): void {
    try {
      this.attemptOnce()
    } catch (error) {
      // Called by timers and by the table too, which have others to serve.
      this.parts.defect(error as Error)
      this.refuse(REFUSALS.defect)
      this.attempt?.abandon()
    }
  }

  private attemptOnce(): void {
    const { exchange } = this
    if (exchange.refusal !== null) {
      this.refuse(exchange.refusal)
      return
    }
    const endpoint = exchange.endpoint as Endpoint
    exchange.attempts++
    this.request ??= requestOf(exchange, this.body)
    this.connectingSince = 0
    this.attempt = new Attempt(exchange, endpoint, this.parts, this)
    this.attempt.send(this.request)
  }

  clientClosed(): void {
    this.parts.room.leave(this.exchange)
    this.attempt?.abandon()
  }

  /**
   * A connect that takes too long proves no death: the queue of an app that is blocked is full. A session waits there with
   * those that it let in (R12.2), until it is given up or the time for an answer is over.
   */
  connectsAgain(endpoint: Endpoint): boolean {
    this.parts.suspect(endpoint)
    if (this.parts.chooser.mayLeave(this.exchange, endpoint)) return false
    const { connectMs, firstByteMs } = this.parts.options.timeouts
    const now = performance.now()
    if (this.connectingSince === 0) this.connectingSince = now - connectMs
    return firstByteMs === 0 || now - this.connectingSince < firstByteMs
  }

  ended(outcome: Outcome, endpoint: Endpoint): void {
    this.attempt = null
    const { exchange } = this
    switch (outcome.kind) {
      case 'done':
      case 'clientGone':
        return
      case 'notSent':
        if (this.refuseForGood(outcome.error)) return
        if (isSlowConnect(outcome.error)) {
          if (this.parts.chooser.mayLeave(exchange, endpoint)) this.retry(endpoint)
          else this.refuse(REFUSALS.upstreamTimeout)
          return
        }
        endpoint.suspectUntil = performance.now() + SUSPECT_MS
        this.parts.suspect(endpoint)
        this.retry(endpoint)
        return
      case 'unanswered':
        if (this.refuseForGood(outcome.error)) return
        if (LOST.has(codeOf(outcome.error))) {
          this.parts.suspect(endpoint)
          if (outcome.repeatable && exchange.idempotent && exchange.runs < MAX_RUNS) {
            if (outcome.stale) this.retryWhereItWas(endpoint)
            else this.retry(endpoint)
            return
          }
        }
        this.refuse(codeOf(outcome.error) === 'UPSTREAM_TIMEOUT' ? REFUSALS.upstreamTimeout : REFUSALS.upstreamFailed)
        return
      case 'unusable':
        this.refuse(REFUSALS.upstreamUnusable)
        return
    }
  }

  private refuse(refusal: Refusal): void {
    answer(this.exchange, refusal, this.parts.stopping())
  }

  /** The fault lies with the request, so no other endpoint would do better. */
  private refuseForGood(error: Error): boolean {
    const refusal = faultOfRequest(error)
    if (refusal === null) return false
    this.refuse(refusal)
    return true
  }

  /**
   * It is at home there, unless the instance dies: one that does loses connections a moment before it refuses new ones, or
   * one process after the other, and would lose the second run as well. So not at once, and not unasked.
   */
  private retryWhereItWas(endpoint: Endpoint): void {
    setTimeout(() => {
      if (this.exchange.clientGone) return
      const healthPath = this.exchange.app?.row.healthPath ?? null
      endpoint.asksWhetherItLives(healthPath, (lives) => this.retry(lives ? null : endpoint))
    }, DYING_MS)
  }

  /** @param endpoint that shall not have it again; null where nothing speaks against it, so that a session stays at home */
  private retry(endpoint: Endpoint | null): void {
    const { exchange } = this
    if (exchange.clientGone) return
    if (exchange.app !== null) exchange.app.metrics.retries++
    if (endpoint !== null) exchange.tried = [...(exchange.tried ?? []), endpoint]
    // A tick later: a closed pool fails within dispatch, and a chain of those must not grow the stack.
    setImmediate(() => {
      if (!exchange.clientGone) this.parts.chooser.again(exchange, () => this.go())
    })
  }
}

function faultOfRequest(error: Error): Refusal | null {
  if (error instanceof BodyFailure) return error.reason === 'tooLarge' ? REFUSALS.bodyTooLarge : REFUSALS.requestTimeout
  return isOwnError(error) ? REFUSALS.overloaded : null
}

/** What the instance gets: the client's headers that pass, and the router's word on who the client is (R13.2). */
function requestOf(exchange: Exchange, body: RequestBody | null): UpstreamRequest {
  const { req, peer, requestId } = exchange
  const head = exchange.head as RequestHead
  const out = head.headers
  if (head.cookies !== null) for (const cookie of head.cookies) out.push('cookie', cookie)
  const host = head.host ?? exchange.app?.row.hostnames[0] ?? ''
  if (head.host === null) out.push('host', host)
  out.push(
    'x-forwarded-for',
    head.forwardedFor === null ? peer.ip : `${head.forwardedFor}, ${peer.ip}`,
    'x-forwarded-host',
    head.forwardedHost ?? host,
    'x-forwarded-proto',
    head.forwardedProto ?? (isSecure(exchange) ? 'https' : 'http'),
    'x-real-ip',
    head.realIp ?? peer.ip,
    'x-request-id',
    requestId,
  )
  if (head.contentLength !== null) out.push('content-length', head.contentLength)
  if (head.chunked) out.push('transfer-encoding', 'chunked')
  const upgrade = req.upgradeHead !== undefined
  if (upgrade) out.push('connection', 'upgrade', 'upgrade', 'websocket')
  return { method: req.method, path: req.url, headers: out, body, chunked: head.chunked, upgrade }
}
