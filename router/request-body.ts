import type { Bulk } from './bulk.ts'
import type { ExpectingRequest } from './listener.ts'
import type { BodyReader, UpstreamBody } from './upstream/upstream.ts'

/** Why a request body ended before its end; the turn makes an answer of it. */
export class BodyFailure extends Error {
  readonly reason: 'tooLarge' | 'idle'
  constructor(reason: 'tooLarge' | 'idle') {
    super(reason)
    this.reason = reason
  }
}

/**
 * The body of a request as the connection to an instance reads it: counted, and ended where it stops arriving. A body
 * whose client goes away has no end; the answer that nobody waits for any more is given up, and the connection with it.
 */
export class RequestBody implements UpstreamBody {
  private readonly req: ExpectingRequest
  private readonly maxBytes: number
  private readonly idleMs: number
  private readonly bulk: Bulk
  private reader: BodyReader | null = null
  private idle: NodeJS.Timeout | null = null
  private bytes = 0

  /** @param maxBytes 0 for no limit; @param idleMs 0 for no limit */
  constructor(req: ExpectingRequest, maxBytes: number, idleMs: number, bulk: Bulk) {
    this.req = req
    this.maxBytes = maxBytes
    this.idleMs = idleMs
    this.bulk = bulk
  }

  start(reader: BodyReader): void {
    this.reader = reader
    this.req.on('data', this.onData).on('end', this.onEnd)
    this.req.askForBody?.()
    this.resume()
  }

  resume(): void {
    this.req.resume()
    this.watch()
  }

  pause(): void {
    this.req.pause()
    // It is the instance that does not take more now, not the client that gives none.
    this.unwatch()
  }

  stop(): void {
    this.reader = null
    this.unwatch()
    this.req.off('data', this.onData).off('end', this.onEnd)
    // Unread, it would stand before the next request of the connection.
    this.req.resume()
  }

  private readonly onData = (chunk: Buffer): void => {
    this.bytes += chunk.length
    this.bulk.relayed(chunk.length)
    if (this.maxBytes > 0 && this.bytes > this.maxBytes) {
      this.reader?.onBodyError(new BodyFailure('tooLarge'))
      return
    }
    this.idle?.refresh()
    this.reader?.onBody(chunk)
  }

  private readonly onEnd = (): void => {
    const { reader } = this
    this.stop()
    reader?.onBodyEnd()
  }

  private watch(): void {
    if (this.idleMs === 0 || this.idle !== null) return
    this.idle = setTimeout(() => this.reader?.onBodyError(new BodyFailure('idle')), this.idleMs)
  }

  private unwatch(): void {
    if (this.idle !== null) clearTimeout(this.idle)
    this.idle = null
  }
}
