import type { SocketConstructorOpts } from 'node:net'
import { MalformedResponse, ResponseReader, type ResponseSink } from './response-reader.ts'
import {
  type BodyReader,
  type UpstreamBody,
  type UpstreamControl,
  UpstreamError,
  type UpstreamHandler,
  type UpstreamRequest,
} from './upstream.ts'
import { UpstreamSocket } from './upstream-socket.ts'

/** Told by a connection to those who keep it. */
export interface ConnectionOwner {
  onIdle(connection: Connection): void
  onGone(connection: Connection): void
}

/** Up to this size a piece of a body is copied behind its head or chunk size: a second buffer in a write costs more. */
const MAX_JOINED_BYTES = 4096

/**
 * One connection to an instance, for one request at a time.
 *
 * `connecting` → `idle` ⇄ `busy`, and from each of them → `gone`. The owner gives it a request when it is idle (or
 * connecting, the first one); it goes back to idle when the answer has ended, the request has left whole and the
 * connection can be used again. An answer may come, and end, while the body of its request is still being sent.
 */
export class Connection implements ResponseSink, UpstreamControl, BodyReader {
  /** ms of performance.now() since when it is idle. */
  idleSince = 0
  /** How long it may be idle before it counts as closed by the instance, in ms. */
  idleLimitMs: number
  /**
   * ms of performance.now() since when it waits for the instance: to connect, to take more of the body, or to answer.
   * 0 while it waits for nothing, or for the client, who has a deadline of its own.
   */
  waitingSince = 0
  isHead = false
  mayUpgrade = false
  reused = false
  /** It carries one request and no other. */
  once = false
  private state: 'connecting' | 'idle' | 'busy' | 'gone' = 'connecting'
  private handler: UpstreamHandler | null = null
  private request: UpstreamRequest | null = null
  /** The head of a request, kept for the first piece of its body. */
  private head: string | null = null
  /** As long as it is being sent. */
  private body: UpstreamBody | null = null
  private chunked = false
  private answering = false
  private unwritten = false
  private readonly reader = new ResponseReader(this)
  private readonly socket: UpstreamSocket
  private readonly owner: ConnectionOwner
  private readonly defaultIdleMs: number

  constructor(host: string, port: number, defaultIdleMs: number, owner: ConnectionOwner) {
    this.owner = owner
    this.defaultIdleMs = defaultIdleMs
    this.idleLimitMs = defaultIdleMs
    this.socket = new UpstreamSocket({ noDelay: true } as SocketConstructorOpts).connect({ host, port })
    this.socket.onUnwritable = this.unwritable
    this.socket.once('connect', () => this.connected())
    this.socket.on('data', this.read).on('drain', this.drained).on('end', this.ended)
    this.socket.on('error', this.fail).on('close', this.closed)
  }

  send(request: UpstreamRequest, handler: UpstreamHandler): void {
    this.request = request
    this.handler = handler
    this.reused = this.state === 'idle'
    if (this.reused) this.write()
    else this.waitingSince = performance.now()
  }

  private connected(): void {
    if (this.state !== 'connecting') return
    this.state = 'idle'
    if (this.handler === null) this.owner.onIdle(this)
    else this.guarded(() => this.write())
  }

  // ---- the request ----

  private write(): void {
    const { method, path, headers, body, chunked, upgrade } = this.request as UpstreamRequest
    this.request = null
    this.state = 'busy'
    this.answering = false
    this.isHead = method === 'HEAD'
    this.mayUpgrade = upgrade
    this.waitingSince = body === null ? performance.now() : 0
    this.handler?.onSent(this)
    // Aborted in the meantime.
    if (this.handler === null) return
    let head = `${method} ${path} HTTP/1.1\r\n`
    for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`
    head += '\r\n'
    if (body === null) {
      this.socket.write(head, 'latin1')
      return
    }
    this.head = head
    this.body = body
    this.chunked = chunked
    body.start(this)
    // Behind what has come of the body already, which the client's side hands over in this tick.
    process.nextTick(flushHead, this)
  }

  onBody(chunk: Buffer): void {
    const { socket } = this
    const before = this.takeHead() + (this.chunked ? `${chunk.length.toString(16)}\r\n` : '')
    const behind = this.chunked ? '\r\n' : ''
    if (before === '') socket.write(chunk)
    else if (chunk.length <= MAX_JOINED_BYTES) socket.write(joined(before, chunk, behind))
    else {
      socket.cork()
      socket.write(before, 'latin1')
      socket.write(chunk)
      if (behind !== '') socket.write(behind, 'latin1')
      socket.uncork()
    }
    // What write() says counts what the kernel has taken since.
    if (socket.writableLength < socket.writableHighWaterMark) return
    this.body?.pause()
    if (!this.answering) this.waitingSince = performance.now()
  }

  private readonly drained = (): void => {
    if (this.body === null) return
    if (!this.answering) this.waitingSince = 0
    this.body.resume()
  }

  onBodyEnd(): void {
    this.body = null
    const rest = this.takeHead() + (this.chunked ? '0\r\n\r\n' : '')
    if (rest !== '') this.socket.write(rest, 'latin1')
    if (!this.answering) this.waitingSince = performance.now()
  }

  onBodyError(error: Error): void {
    this.fail(error)
  }

  /** No more of the body had come: the head leaves alone. */
  flushHead(): void {
    if (this.head !== null) this.socket.write(this.takeHead(), 'latin1')
  }

  /** The instance takes no more; it may have answered before. */
  private readonly unwritable = (): void => {
    this.unwritten = true
    this.dropBody()
    if (!this.answering) this.waitingSince = performance.now()
  }

  private takeHead(): string {
    const { head } = this
    this.head = null
    return head ?? ''
  }

  // ---- the answer ----

  private readonly read = (chunk: Buffer): void => {
    if (this.state === 'busy') this.guarded(() => this.reader.read(chunk))
    // Nobody asked: taken for the answer to the next request, it would be another client's (GHSA-35p6-xmwp-9g52).
    else this.fail(new UpstreamError('UPSTREAM_MALFORMED', 'an answer without a request'))
  }

  /** Whatever throws here fails this one answer, not the process with all its connections. */
  private guarded(act: () => void): void {
    try {
      act()
    } catch (error) {
      this.fail(
        error instanceof MalformedResponse
          ? new UpstreamError('UPSTREAM_MALFORMED', `the answer is not HTTP/1.1: ${error.message}`)
          : (error as Error),
      )
    }
  }

  onInterim(status: number, headers: string[]): void {
    this.handler?.onInterim(status, headers)
  }

  onHead(status: number, reason: string, headers: string[]): void {
    this.answering = true
    this.waitingSince = 0
    this.handler?.onHead(status, reason, headers)
  }

  onData(chunk: Buffer): void {
    this.handler?.onData(chunk)
  }

  onEnd(trailers: string[] | null, reusable: boolean): void {
    // What is left of the request would be read as the beginning of the next one.
    const hasLeft = this.body === null && this.head === null && this.socket.writableLength === 0 && !this.unwritten
    this.dropBody()
    this.handler?.onEnd(trailers)
    this.handler = null
    if (this.state !== 'busy') return
    // An instance that refused an upgrade may have taken the connection away from its HTTP server all the same.
    if (!reusable || !hasLeft || this.mayUpgrade) {
      this.leave()
      this.socket.destroy()
      return
    }
    this.state = 'idle'
    this.idleSince = performance.now()
    const hint = this.reader.keepAliveHintMs
    this.idleLimitMs = hint === null ? this.defaultIdleMs : Math.max(0, hint - 1000)
    this.socket.resume()
    this.owner.onIdle(this)
  }

  onUpgrade(headers: string[], rest: Buffer): void {
    const { socket } = this
    const handler = this.handler as UpstreamHandler
    this.handler = null
    socket.off('data', this.read).off('drain', this.drained).off('end', this.ended)
    socket.off('error', this.fail).off('close', this.closed)
    socket.onUnwritable = null
    this.leave()
    try {
      handler.onUpgrade(headers, socket, rest)
    } catch (error) {
      socket.destroy()
      handler.onError(error as Error)
    }
  }

  // ---- what the handler may do ----

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  abort(): void {
    this.handler = null
    this.dropBody()
    this.leave()
    this.socket.destroy()
  }

  // ---- ends ----

  private readonly ended = (): void => {
    if (this.state === 'busy') this.guarded(() => this.reader.close())
    this.closed()
  }

  private readonly closed = (): void => {
    this.fail(new UpstreamError('UPSTREAM_CLOSED', 'the instance closed the connection'))
  }

  /** The owner has waited long enough. */
  timeOut(): void {
    const code = this.state === 'connecting' ? 'UPSTREAM_CONNECT_TIMEOUT' : 'UPSTREAM_TIMEOUT'
    this.fail(new UpstreamError(code, 'the instance does not answer'))
  }

  get connecting(): boolean {
    return this.state === 'connecting'
  }

  private readonly fail = (error: Error): void => {
    if (this.state === 'gone') return
    const { handler } = this
    this.handler = null
    this.dropBody()
    this.leave()
    this.socket.destroy()
    handler?.onError(error)
  }

  private dropBody(): void {
    this.head = null
    this.body?.stop()
    this.body = null
  }

  private leave(): void {
    if (this.state === 'gone') return
    this.state = 'gone'
    this.waitingSince = 0
    this.owner.onGone(this)
  }
}

function flushHead(connection: Connection): void {
  connection.flushHead()
}

function joined(before: string, chunk: Buffer, behind: string): Buffer {
  const all = Buffer.allocUnsafe(before.length + chunk.length + behind.length)
  all.write(before, 0, 'latin1')
  chunk.copy(all, before.length)
  all.write(behind, before.length + chunk.length, 'latin1')
  return all
}
