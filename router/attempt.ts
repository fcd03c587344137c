import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { mintKey, type RandomWord } from '../domain/affinity.ts'
import { endLingering } from './answer.ts'
import type { Bulk } from './bulk.ts'
import type { Endpoint, LongLived, Repeatable } from './endpoint.ts'
import type { Exchange } from './exchange.ts'
import type { RebalanceNotes } from './rebalance-count.ts'
import type { ResponseHeads } from './response-head.ts'
import { Tunnel } from './tunnel.ts'
import {
  isSlowConnect,
  type UpstreamControl,
  UpstreamError,
  type UpstreamHandler,
  type UpstreamRequest,
} from './upstream/upstream.ts'

/** Larger pieces are not worth a copy. */
const MAX_HELD_BYTES = 16_384

/** How an attempt ended. */
export type Outcome =
  /** The answer is with the client, or as much of it as there was. */
  | { kind: 'done' }
  /** The client went away first. */
  | { kind: 'clientGone' }
  /** Nothing was sent: any other endpoint may have the request (D10). */
  | { kind: 'notSent'; error: Error }
  /**
   * It was sent and not answered. `repeatable`: whoever got it is not still at it, as far as anybody knows. `stale`: its
   * connection had been idle before, and may have been too old for an instance that wakes up: that it was lost may tell
   * nothing.
   */
  | { kind: 'unanswered'; error: Error; repeatable: boolean; stale: boolean }
  /** It was answered, but nobody can make use of the answer: another try would only carry it out once more. */
  | { kind: 'unusable'; error: Error }

export type AttemptParts = {
  heads: ResponseHeads
  random: RandomWord
  servedBy: boolean
  bulk: Bulk
  rebalances: RebalanceNotes
  /** This process ends: connections end with the answers under way. */
  stopping(): boolean
  /** Something threw that never should: it costs one request, and is told. */
  defect(error: Error): void
}

export type AttemptOwner = {
  ended(outcome: Outcome, endpoint: Endpoint): void
  /** A connect took too long: whether to go on trying there. */
  connectsAgain(endpoint: Endpoint): boolean
}

/**
 * One try to get an answer from one endpoint.
 *
 * It goes from `waiting` (for a connection) to `sent` to `answered` (the head of the answer has come) to `ended`;
 * from each of them an error leads to `ended` too, but a connect that takes too long, where its owner has patience. The
 * owner's `ended` is called once, at the end.
 */
export class Attempt implements UpstreamHandler, Repeatable, LongLived {
  private state: 'waiting' | 'sent' | 'answered' | 'ended' = 'waiting'
  private readonly exchange: Exchange
  private readonly endpoint: Endpoint
  private readonly parts: AttemptParts
  private readonly owner: AttemptOwner
  private request: UpstreamRequest | null = null
  private control: UpstreamControl | null = null
  private isStream = false
  private leaving = false
  private kept = false
  place = -1
  /** The head of the answer has been given to node, but not sent. */
  private headPending = false
  /** The first piece of the body, kept until it is known whether it is the last. */
  private held: Buffer | null = null

  constructor(exchange: Exchange, endpoint: Endpoint, parts: AttemptParts, owner: AttemptOwner) {
    this.exchange = exchange
    this.endpoint = endpoint
    this.parts = parts
    this.owner = owner
    endpoint.began()
    // Whatever it is: before it has left nothing speaks against another instance.
    endpoint.enlist(this)
  }

  send(request: UpstreamRequest): void {
    const { idempotent, runs } = this.exchange
    this.request = request
    this.endpoint.send(request, idempotent && runs === 0, this)
  }

  /** The client has gone: the instance need not go on. */
  abandon(): void {
    this.end({ kind: 'clientGone' })
  }

  recall(): void {
    // Should it find no other instance, it waits for one from now on.
    this.exchange.waitUntil = 0
    this.onError(new UpstreamError('UPSTREAM_CLOSED', 'the instance is dead'))
  }

  keep(): void {
    this.kept = true
    if (this.state !== 'waiting') this.endpoint.delist(this)
    // What has not left yet can go elsewhere without any risk; it does where its session does, too (D10).
    else if (this.endpoint.ejected) this.recall()
  }

  /** The endpoint drains and its time is up: an event stream ends behind an event, so that the client reconnects. */
  leave(): void {
    this.leaving = true
    setTimeout(() => this.endStream(), 1000).unref()
  }

  /** Of an event stream nobody knows when its next event is due. */
  unansweredSince(): number {
    return Number.POSITIVE_INFINITY
  }

  // ---- called by the upstream ----

  onSent(control: UpstreamControl): void {
    this.control = control
    if (this.state === 'ended') {
      control.abort()
      return
    }
    this.state = 'sent'
    this.request = null
    this.exchange.runs++
    this.exchange.waitUntil = 0
    if (this.kept || !this.exchange.idempotent) this.endpoint.delist(this)
  }

  onHead(status: number, reason: string, received: string[]): void {
    if (this.state === 'ended') return
    this.answered()
    const { exchange } = this
    const { req, res } = exchange
    const { heads } = this.parts
    const { headers, isEventStream, offersUpgrade } = heads.read(
      status,
      received,
      exchange,
      this.newKey(),
      this.servedBy(),
    )
    // The rest of the body may never be read; or the client would send its next request into the end of the connection.
    if ((exchange.hasBody && !req.complete) || this.parts.stopping()) res.shouldKeepAlive = false
    // Node leaves the header alone where it is given one.
    if (offersUpgrade) headers.push('connection', res.shouldKeepAlive ? 'Upgrade' : 'Upgrade, close')
    exchange.status = status
    if (status >= 500) this.endpoint.failedAt = performance.now()
    res.writeHead(status, reason, headers)
    // The head goes out together with the first piece of the body; if none comes with it, alone.
    this.headPending = true
    process.nextTick(flushHead, this)
    if (isEventStream) {
      this.isStream = true
      this.endpoint.longLived.add(this)
    }
  }

  onInterim(status: number, received: string[]): void {
    const { req, res } = this.exchange
    // Also of those that go no further: who sends them is not silent (R12.2).
    this.endpoint.heard()
    // A 100 was the router's own; HTTP/1.0 knows no interim answers, and one whose turn has not come has no socket.
    if (this.state === 'ended' || status === 100 || req.httpVersion === '1.0' || res.headersSent) return
    const headers = this.parts.heads.readAside(received, this.servedBy() !== null)
    let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`
    for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`
    res.socket?.write(`${head}\r\n`, 'latin1')
  }

  onData(chunk: Buffer): void {
    if (this.state === 'ended') return
    this.endpoint.heard()
    this.exchange.bytesSent += chunk.length
    if (this.headPending && this.held === null && chunk.length <= MAX_HELD_BYTES && !this.isStream) {
      this.held = chunk
      return
    }
    this.headPending = false
    this.writeHeld()
    this.write(chunk)
    if (this.leaving && endsEvent(chunk)) this.endStream()
  }

  private write(chunk: Buffer): void {
    const { res } = this.exchange
    this.parts.bulk.relayed(chunk.length)
    if (!res.write(chunk)) {
      this.control?.pause()
      res.once('drain', () => this.control?.resume())
    }
  }

  private writeHeld(): void {
    const { held } = this
    this.held = null
    if (held !== null) this.exchange.res.write(held)
  }

  onEnd(trailers: string[] | null): void {
    if (this.state === 'ended') return
    const { res } = this.exchange
    if (trailers !== null) addTrailers(res, this.parts.heads.readAside(trailers, this.servedBy() !== null))
    const { held } = this
    this.held = null
    this.headPending = false
    if (this.exchange.hasBody) endLingering(this.exchange, held)
    else if (held === null) res.end()
    // As text head and body leave in one piece and one write; as a buffer they would need writev, twice the cost.
    else res.end(held.toString('latin1'), 'latin1')
    this.end({ kind: 'done' })
  }

  onUpgrade(received: string[], socket: Socket, rest: Buffer): void {
    if (this.state === 'ended') {
      socket.destroy()
      return
    }
    this.answered()
    const { exchange, endpoint } = this
    exchange.status = 101
    const { headers } = this.parts.heads.read(101, received, exchange, this.newKey(), this.servedBy())
    // From here on the tunnel holds the endpoint; it may live for days, and needs nothing of the connection.
    this.state = 'ended'
    this.control = null
    const tunnel = new Tunnel(exchange, endpoint, socket, this.parts.bulk, () => {
      endpoint.longLived.delete(tunnel)
      endpoint.ended()
      this.owner.ended({ kind: 'done' }, endpoint)
    })
    endpoint.longLived.add(tunnel)
    tunnel.open(headers, rest)
  }

  onError(error: Error): void {
    switch (this.state) {
      case 'waiting':
        if (isSlowConnect(error) && this.owner.connectsAgain(this.endpoint)) this.send(this.request as UpstreamRequest)
        else this.end({ kind: 'notSent', error })
        break
      case 'sent':
        if (isMalformed(error)) this.end({ kind: 'unusable', error })
        else this.end({ kind: 'unanswered', error, repeatable: !this.kept, stale: this.isStale() })
        break
      case 'answered':
        if (!this.exchange.res.headersSent) {
          // Something threw between the head of the answer and the client. Nothing has left, but node may hold half of it.
          this.parts.defect(error)
          this.exchange.res.shouldKeepAlive = false
          this.end({ kind: 'unusable', error })
          break
        }
        // Ended properly, a chunked answer that was cut short would look whole: only a broken connection tells. Without its
        // head a client would take it for one that was closed before, and ask again.
        this.flush()
        // What was written in this tick leaves at its end.
        process.nextTick(destroy, this.exchange.res)
        this.end({ kind: 'done' })
        break
      case 'ended':
        break
    }
  }

  // ---- ----

  private isStale(): boolean {
    const { control, endpoint } = this
    return control?.reused === true && !endpoint.ejected && endpoint.mayBeWaking(performance.now())
  }

  private answered(): void {
    this.state = 'answered'
    this.endpoint.heard()
    this.endpoint.settled()
    this.endpoint.delist(this)
  }

  /** The key that this answer gives to the session, if any; only the endpoint that was chosen for it may (D8). */
  private newKey(): string | null {
    const { exchange, endpoint } = this
    const app = exchange.app
    if (app === null || !app.row.affinity) return null
    if (exchange.key === null) {
      app.metrics.minted++
      return mintKey(this.parts.random, endpoint.slot, app.slots, app.row.rebalance)
    }
    const home = exchange.newHome
    if (home === null || home.slot !== endpoint.slot) return null
    app.metrics[home.cause]++
    if (home.cause === 'rebalanced') {
      this.parts.rebalances.moved(app.name, app.row.rebalance?.epoch ?? 0, exchange.digest?.a ?? 0)
    }
    return home.key
  }

  /** What the client is told of who answers; null where it is not for it. */
  private servedBy(): string | null {
    return this.parts.servedBy || this.exchange.named ? this.endpoint.servedBy : null
  }

  private endStream(): void {
    if (this.state !== 'answered') return
    this.exchange.res.end()
    this.end({ kind: 'done' })
  }

  private end(outcome: Outcome): void {
    if (this.state === 'ended') return
    const wasSent = this.state !== 'waiting'
    if (this.state !== 'answered') this.endpoint.settled()
    this.state = 'ended'
    this.endpoint.delist(this)
    if (this.isStream) this.endpoint.longLived.delete(this)
    this.endpoint.ended()
    if (wasSent && (outcome.kind !== 'done' || this.leaving)) this.control?.abort()
    this.owner.ended(outcome, this.endpoint)
  }

  flush(): void {
    if (!this.headPending || this.state !== 'answered') return
    this.headPending = false
    if (this.held === null) this.exchange.res.flushHeaders()
    else this.writeHeld()
  }
}

function flushHead(attempt: Attempt): void {
  attempt.flush()
}

function destroy(res: Exchange['res']): void {
  res.destroy()
}

function addTrailers(res: Exchange['res'], trailers: string[]): void {
  const pairs: [string, string][] = []
  for (let i = 0; i < trailers.length; i += 2) pairs.push([trailers[i] as string, trailers[i + 1] as string])
  try {
    res.addTrailers(pairs)
  } catch {
    // Trailers are optional by nature (RFC 9110 6.5.1); bad ones are left out.
  }
}

const isMalformed = (error: Error) => error instanceof UpstreamError && error.code === 'UPSTREAM_MALFORMED'

/** A blank line ends an event (HTML 9.2.5). */
function endsEvent(chunk: Buffer): boolean {
  return (
    chunk.length >= 2 &&
    chunk[chunk.length - 1] === 0x0a &&
    (chunk[chunk.length - 2] === 0x0a || chunk[chunk.length - 2] === 0x0d)
  )
}
