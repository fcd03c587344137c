import { EventEmitter } from 'node:events'
import type { Bulk } from './bulk.ts'
import type { ExpectingRequest } from './listener.ts'

/** Why a request body ended before its end; the attempt turns it into an answer. */
export class BodyFailure extends Error {
  readonly reason: 'tooLarge' | 'idle'
  constructor(reason: 'tooLarge' | 'idle') {
    super(reason)
    this.reason = reason
  }
}

/**
 * The body of a request, as undici wants to read it. Undici destroys a body that it cannot send on, which on the
 * request itself would close the client's connection before it got its answer; this stands between the two, counts
 * the bytes, and ends bodies that stop arriving.
 */
export class RequestBody extends EventEmitter {
  private readonly req: ExpectingRequest
  private readonly maxBytes: number
  private readonly idleMs: number
  private readonly bulk: Bulk
  private idle: NodeJS.Timeout | null = null
  private bytes = 0
  /** Undici has begun to read: it cannot be sent a second time. */
  started = false
  destroyed = false

  /** @param maxBytes 0 for no limit; @param idleMs 0 for no limit */
  constructor(req: ExpectingRequest, maxBytes: number, idleMs: number, bulk: Bulk) {
    super()
    this.req = req
    this.maxBytes = maxBytes
    this.idleMs = idleMs
    this.bulk = bulk
  }

  /** Marks this as a stream for undici, which never calls it. */
  pipe(): never {
    throw new Error('a request body is read by its events only')
  }

  resume(): this {
    if (this.destroyed) return this
    if (!this.started) {
      this.started = true
      this.req.on('data', this.onData).on('end', this.onEnd).on('close', this.onClose)
      this.req.askForBody?.()
      if (this.req.readableEnded) setImmediate(this.onEnd)
    }
    this.req.resume()
    this.watch()
    return this
  }

  pause(): this {
    this.req.pause()
    // It is the instance that does not take more now, not the client that gives none.
    this.unwatch()
    return this
  }

  destroy(): this {
    if (this.destroyed) return this
    this.destroyed = true
    this.unwatch()
    this.req.off('data', this.onData).off('end', this.onEnd).off('close', this.onClose)
    this.emit('close')
    return this
  }

  private readonly onData = (chunk: Buffer): void => {
    this.bytes += chunk.length
    this.bulk.relayed(chunk.length)
    if (this.maxBytes > 0 && this.bytes > this.maxBytes) {
      this.emit('error', new BodyFailure('tooLarge'))
      return
    }
    this.idle?.refresh()
    this.emit('data', chunk)
  }

  private readonly onEnd = (): void => {
    this.unwatch()
    if (!this.destroyed) this.emit('end')
  }

  private readonly onClose = (): void => {
    this.destroy()
  }

  private watch(): void {
    if (this.idleMs === 0 || this.idle !== null) return
    this.idle = setTimeout(() => this.emit('error', new BodyFailure('idle')), this.idleMs)
  }

  private unwatch(): void {
    if (this.idle !== null) clearTimeout(this.idle)
    this.idle = null
  }
}
