/**
 * Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): every stream of the control
 * plane is opened, written and ended here, and none of them can harm the others or the API.
 *
 * - Their number is bounded, in total and for each token. Those of routers count for neither: whoever follows events must
 *   never keep a router from its tables, for which operations wait.
 * - Whoever sends waits until the client has taken it (`drain`), so a client that does not read takes no memory; one
 *   that takes nothing for too long is cut off, and can come back with Last-Event-ID.
 * - An error in what a stream tells of ends this stream, with an event `error` that says why.
 */
import type { Request, Response } from 'express'
import type { Logger } from 'pino'
import { CoppiceError } from '../domain/errors.ts'
import { principalOf } from './auth.ts'
import { errorAnswer } from './errors.ts'
import { Turns } from './turns.ts'

export type StreamLimits = {
  /** Streams at the same time; more get 429. Raise it for many followers: one that waits takes about 20 KiB. Default 1,000. */
  maxStreams: number
  /** Of one token, so that one client cannot take those of all. Default 500. */
  maxStreamsPerToken: number
  /** A client that takes less than 64 KiB in so many ms while more waits for it is cut off. Default 30,000. */
  stallMs: number
}

export const STREAM_LIMITS: StreamLimits = { maxStreams: 1_000, maxStreamsPerToken: 500, stallMs: 30_000 }

/** How often a silent stream says that it lives, in ms. Routers take six silent seconds for a death. */
const KEEP_ALIVE_MS = 1_500
/** What is handed over before the client has to take it, in bytes. */
const PIECE_BYTES = 64 * 1024
const KEEP_ALIVE = ':\n\n'
/** Of one name: a router that was started anew while its predecessor's connection is not known to be gone, twice. */
const MAX_STREAMS_PER_ROUTER = 3

export type ServerEvent = { id?: string; event: string; data: unknown }

/** As it goes over the wire. JSON.stringify leaves no line break in `data`. */
export const eventText = ({ id, event, data }: ServerEvent): string =>
  `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`

export type EventStream = {
  /** Resolves when there is room for more. Throws when the stream is closed. One at a time. */
  send(bytes: Buffer): Promise<void>
  /** Aborted when the client has gone, reads too slowly, or the control plane stops. */
  readonly closed: AbortSignal
}

type Open = EventStream & { token: string; router: string | null; keepAlive(): void; end(): void }

export type EventStreamsDeps = {
  log: Pick<Logger, 'warn' | 'info'>
  /** Aborted when the control plane stops. */
  stopping: AbortSignal
  limits: StreamLimits
}

export class EventStreams {
  /** Of all streams: what one of them sends next is looked up in its turn. */
  readonly turns = new Turns()
  readonly #deps: EventStreamsDeps
  readonly #open = new Set<Open>()
  #timer: NodeJS.Timeout | null = null

  constructor(deps: EventStreamsDeps) {
    this.#deps = deps
    deps.stopping.addEventListener('abort', () => {
      for (const stream of this.#open) stream.end()
    })
  }

  get size(): number {
    return this.#open.size
  }

  /**
   * Answers with a stream that `tell` fills; it ends when that returns or throws.
   *
   * @param router the name of the router that it is for; of several of one name the oldest ends
   * @throws CoppiceError TooManyStreams, before anything is answered.
   */
  async serve(
    request: Request,
    response: Response,
    tell: (stream: EventStream) => Promise<void>,
    router: string | null = null,
  ): Promise<void> {
    const stream = this.#admit(request, response, router)
    try {
      await tell(stream)
    } catch (error) {
      if (!stream.closed.aborted) await this.#tellError(request, stream, error)
    } finally {
      stream.end()
      this.#open.delete(stream)
      if (this.#open.size === 0) this.#rest()
    }
  }

  #admit(request: Request, response: Response, router: string | null): Open {
    const token = principalOf(response).name
    if (router === null) this.#assertRoom(token)
    else this.#endOldest(router)
    const stream = openStream(request, response, this.#deps.limits.stallMs, () =>
      this.#deps.log.info({ path: request.path, token }, 'a stream whose client did not read was cut off'),
    )
    const open = { ...stream, token, router }
    this.#open.add(open)
    this.#timer ??= setInterval(() => {
      for (const each of this.#open) each.keepAlive()
    }, KEEP_ALIVE_MS)
    if (this.#deps.stopping.aborted) open.end()
    return open
  }

  #endOldest(router: string): void {
    const same = [...this.#open].filter((stream) => stream.router === router)
    // All but those that leave room for one more.
    for (const stream of same.slice(0, 1 - MAX_STREAMS_PER_ROUTER)) stream.end()
  }

  #assertRoom(token: string): void {
    const { maxStreams, maxStreamsPerToken } = this.#deps.limits
    const counted = [...this.#open].filter(({ router }) => router === null)
    const own = counted.filter((stream) => stream.token === token).length
    if (own >= maxStreamsPerToken)
      throw new CoppiceError('TooManyStreams', `The token ${token} has ${own} streams open, which is the most for one`)
    if (counted.length >= maxStreams)
      throw new CoppiceError('TooManyStreams', `${counted.length} streams are open, which is the most for all`)
  }

  async #tellError(request: Request, stream: EventStream, error: unknown): Promise<void> {
    this.#deps.log.warn({ err: error, path: request.path }, 'a stream ended by an error')
    const { body } = errorAnswer(error)
    await stream.send(Buffer.from(eventText({ event: 'error', data: body }))).catch(() => undefined)
  }

  #rest(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }
}

function openStream(
  request: Request,
  response: Response,
  stallMs: number,
  onCut: () => void,
): Omit<Open, 'token' | 'router'> {
  const closed = new AbortController()
  response.status(200).set({
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-store',
    // nginx buffers otherwise.
    'X-Accel-Buffering': 'no',
  })
  request.socket.setNoDelay(true)
  response.flushHeaders()
  response.once('close', () => closed.abort())
  // Nobody has to hear that a client has gone but those who send to it, and `close` tells them.
  response.on('error', () => undefined)
  let sending = false

  const write = (piece: Buffer | string): Promise<void> | null => {
    closed.signal.throwIfAborted()
    if (response.write(piece)) return null
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        onCut()
        response.destroy()
      }, stallMs)
      const done = () => {
        clearTimeout(late)
        response.off('drain', done)
        closed.signal.removeEventListener('abort', done)
        if (closed.signal.aborted) reject(closed.signal.reason)
        else resolve()
      }
      response.on('drain', done)
      closed.signal.addEventListener('abort', done)
    })
  }
  return {
    closed: closed.signal,
    async send(bytes) {
      sending = true
      try {
        for (let at = 0; at < bytes.length; at += PIECE_BYTES) await write(bytes.subarray(at, at + PIECE_BYTES))
      } finally {
        sending = false
      }
    },
    keepAlive() {
      // Not into the middle of an event, and no more of them than the client takes.
      if (sending || closed.signal.aborted || response.writableNeedDrain) return
      response.write(KEEP_ALIVE)
    },
    end() {
      response.end()
      closed.abort()
    },
  }
}
