import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Bulk } from './bulk.ts'
import type { Endpoint, LongLived } from './endpoint.ts'
import type { Exchange } from './exchange.ts'
import { FrameFollower } from './websocket-frames.ts'

/** Close frame of a server, code 1012 "service restart" (RFC 6455 7.4 and its registry): clients reconnect. */
const CLOSE_1012 = Buffer.from([0x88, 0x02, 0x03, 0xf4])
/** How long the peers have to say goodbye after it. */
const GOODBYE_MS = 2000

/**
 * What a client says counts for so long as a sign that its instance is silent: longer than the primary believes one that
 * answered a question (watched.ts), so that it causes one, and then no more: many a message has no answer.
 */
const WORTH_A_QUESTION_MS = 11_000

/** One end of a tunnel. */
type End = Socket & { tunnel: Tunnel; other: End }

/**
 * A WebSocket: two sockets, wired by hand because that costs less memory than pipes, each paused while the other
 * cannot take more. The listeners are the same functions for all tunnels and find theirs by the socket, for the same
 * reason.
 */
export class Tunnel implements LongLived {
  private readonly exchange: Exchange
  private readonly endpoint: Endpoint
  private readonly instance: Socket
  private client: Socket | null = null
  private readonly bulk: Bulk
  private readonly onEnd: () => void
  private ended = false
  private leaving = false
  private readonly frames = new FrameFollower()
  /** ms of performance.now(): when the client said the first of what nothing has come back for. */
  private saidAt = Number.NEGATIVE_INFINITY

  constructor(exchange: Exchange, endpoint: Endpoint, instance: Socket, bulk: Bulk, onEnd: () => void) {
    this.bulk = bulk
    this.exchange = exchange
    this.endpoint = endpoint
    this.instance = instance
    this.onEnd = onEnd
  }

  /** @param headers of the 101 answer, without those of the connection; @param rest what came behind them */
  open(headers: string[], rest: Buffer): void {
    const { req, res } = this.exchange
    const client = res.socket as Socket | null
    if (client === null || client.destroyed) {
      this.instance.destroy()
      this.end()
      return
    }
    this.client = client
    ;(res as ServerResponse).detachSocket(client as never)
    let head = `HTTP/1.1 ${this.exchange.status} ${STATUS_CODES[this.exchange.status] ?? ''}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
    for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`
    client.write(`${head}\r\n`, 'latin1')
    client.setTimeout(0)
    client.setNoDelay(true)
    client.setKeepAlive(true, 60_000)
    this.instance.setKeepAlive(true, 60_000)
    if (req.upgradeHead !== undefined && req.upgradeHead.length > 0) this.instance.write(req.upgradeHead)
    this.exchange.forgetHeaders()

    const { instance } = this
    const ends = [client, instance] as [End, End]
    ends.forEach((end, i) => {
      end.tunnel = this
      end.other = ends[1 - i] as End
      end.on('drain', drained).on('end', ended).on('error', failed).on('close', closed)
    })
    client.on('data', fromClient)
    instance.on('data', fromInstance)
    client.resume()
    instance.resume()
    if (rest.length > 0) this.fromInstance(rest)
  }

  /** The instance leaves: the client is told with 1012 as soon as a frame ends. */
  leave(): void {
    if (this.leaving || this.client === null) return
    this.leaving = true
    if (this.frames.atBoundary) this.sayGoodbye()
    setTimeout(() => {
      // Half a frame is worth nothing to anybody, and a client that takes nothing would keep it in memory.
      if (this.frames.atBoundary) this.client?.destroySoon()
      else this.client?.destroy()
      this.instance.destroy()
    }, GOODBYE_MS).unref()
  }

  unansweredSince(now: number): number {
    // Of a paused instance nothing is read: its answer may be here, and it is the client that is slow.
    return this.isWorthAQuestion(now) && !this.instance.isPaused() ? this.saidAt : Number.POSITIVE_INFINITY
  }

  private isWorthAQuestion(now: number): boolean {
    return now - this.saidAt < WORTH_A_QUESTION_MS
  }

  fromClient(chunk: Buffer): void {
    const now = performance.now()
    if (!this.isWorthAQuestion(now) && !isPong(chunk)) this.saidAt = now
    this.bulk.relayed(chunk.length)
    if (!this.instance.write(chunk)) this.client?.pause()
  }

  fromInstance(chunk: Buffer): void {
    const client = this.client as Socket
    this.saidAt = Number.NEGATIVE_INFINITY
    this.endpoint.heard()
    this.exchange.bytesSent += chunk.length
    this.bulk.relayed(chunk.length)
    if (!this.leaving) {
      this.frames.follow(chunk)
      if (!client.write(chunk)) this.instance.pause()
      return
    }
    if (this.frames.atBoundary) return
    // Only up to the end of the frame that was under way.
    const boundary = this.frames.followToBoundary(chunk)
    if (!client.write(boundary === -1 ? chunk : chunk.subarray(0, boundary))) this.instance.pause()
    if (boundary !== -1) this.sayGoodbye()
  }

  private sayGoodbye(): void {
    this.client?.write(CLOSE_1012)
  }

  end(): void {
    if (this.ended) return
    this.ended = true
    this.onEnd()
    // The chain goes on by this event, as after any answer.
    this.exchange.res.emit('close')
  }
}

/** One pong and no more: it answers, and waits for nothing (RFC 6455 5.5.3). Clients mask their frames. */
function isPong(chunk: Buffer): boolean {
  return chunk[0] === 0x8a && chunk.length === 6 + ((chunk[1] as number) & 0x7f)
}

function fromClient(this: Socket, chunk: Buffer): void {
  ;(this as End).tunnel.fromClient(chunk)
}

function fromInstance(this: Socket, chunk: Buffer): void {
  ;(this as End).tunnel.fromInstance(chunk)
}

function drained(this: Socket): void {
  ;(this as End).other.resume()
}

function ended(this: Socket): void {
  ;(this as End).other.end()
}

function failed(this: Socket): void {
  ;(this as End).other.destroy()
}

function closed(this: Socket): void {
  const { tunnel, other } = this as End
  // What is on its way to the other side still arrives there.
  if (this.errored === null && !other.destroyed) other.destroySoon()
  else other.destroy()
  tunnel.end()
}
