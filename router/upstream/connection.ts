import { connect, type Socket } from 'node:net'
import { MalformedResponse, ResponseReader, type ResponseSink } from './response-reader.ts'
import { type UpstreamControl, UpstreamError, type UpstreamHandler, type UpstreamRequest } from './upstream.ts'

/** Told by a connection to those who keep it. */
export interface ConnectionOwner {
  onIdle(connection: Connection): void
  onGone(connection: Connection): void
}

/**
 * One connection to an instance, for one request at a time.
 *
 * `connecting` → `idle` ⇄ `busy`, and from each of them → `gone`. The owner gives it a request when it is idle (or
 * connecting, the first one); it goes back to idle when the answer has ended and the connection can be used again.
 */
export class Connection implements ResponseSink, UpstreamControl {
  /** ms of performance.now() since when it is idle. */
  idleSince = 0
  /** How long it may be idle before it counts as closed by the instance, in ms. */
  idleLimitMs: number
  /** ms of performance.now() since when it waits for the head of an answer; 0 if it does not. */
  waitingSince = 0
  isHead = false
  reused = false
  private state: 'connecting' | 'idle' | 'busy' | 'gone' = 'connecting'
  private handler: UpstreamHandler | null = null
  private request: UpstreamRequest | null = null
  private readonly reader = new ResponseReader(this)
  private readonly socket: Socket
  private readonly owner: ConnectionOwner
  private readonly defaultIdleMs: number

  constructor(host: string, port: number, defaultIdleMs: number, owner: ConnectionOwner) {
    this.owner = owner
    this.defaultIdleMs = defaultIdleMs
    this.idleLimitMs = defaultIdleMs
    this.socket = connect({ host, port, noDelay: true })
    this.socket.on('connect', () => this.connected())
    this.socket.on('data', (chunk) => this.read(chunk))
    this.socket.on('end', () => this.ended())
    this.socket.on('error', (error) => this.fail(error))
    this.socket.on('close', () => this.fail(new UpstreamError('UPSTREAM_CLOSED', 'the instance closed the connection')))
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
    if (this.handler !== null) this.write()
    else this.owner.onIdle(this)
  }

  private write(): void {
    const { method, path, headers } = this.request as UpstreamRequest
    this.request = null
    this.state = 'busy'
    this.isHead = method === 'HEAD'
    this.waitingSince = performance.now()
    this.handler?.onSent(this)
    // Aborted in the meantime.
    if (this.handler === null) return
    let head = `${method} ${path} HTTP/1.1\r\n`
    for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`
    this.socket.write(`${head}\r\n`, 'latin1')
  }

  // ---- the answer ----

  private read(chunk: Buffer): void {
    if (this.state !== 'busy') {
      // Nobody asked: taken for the answer to the next request, it would be another client's (GHSA-35p6-xmwp-9g52).
      this.fail(new UpstreamError('UPSTREAM_MALFORMED', 'an answer without a request'))
      return
    }
    try {
      const unasked = this.reader.read(chunk)
      if (unasked > 0) this.fail(new UpstreamError('UPSTREAM_MALFORMED', 'bytes behind the end of an answer'))
    } catch (error) {
      this.failed(error)
    }
  }

  /** Whatever was thrown while an answer was read fails this one answer, not the process with all its connections. */
  private failed(error: unknown): void {
    const malformed = error instanceof MalformedResponse
    this.fail(
      malformed
        ? new UpstreamError('UPSTREAM_MALFORMED', `the answer is not HTTP/1.1: ${error.message}`)
        : (error as Error),
    )
  }

  onInterim(status: number, headers: string[]): void {
    this.handler?.onInterim(status, headers)
  }

  onHead(status: number, reason: string, headers: string[]): void {
    this.waitingSince = 0
    this.handler?.onHead(status, reason, headers)
  }

  onData(chunk: Buffer): void {
    this.handler?.onData(chunk)
  }

  onEnd(trailers: string[] | null, reusable: boolean): void {
    this.handler?.onEnd(trailers)
    this.handler = null
    if (this.state !== 'busy') return
    if (!reusable) {
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

  // ---- what the handler may do ----

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  abort(): void {
    this.handler = null
    this.leave()
    this.socket.destroy()
  }

  // ---- ends ----

  private ended(): void {
    try {
      if (this.state === 'busy' && this.reader.close()) return
    } catch (error) {
      this.failed(error)
    }
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

  private fail(error: Error): void {
    if (this.state === 'gone') return
    const { handler } = this
    this.handler = null
    this.leave()
    this.socket.destroy()
    handler?.onError(error)
  }

  private leave(): void {
    if (this.state === 'gone') return
    this.state = 'gone'
    this.owner.onGone(this)
  }
}
