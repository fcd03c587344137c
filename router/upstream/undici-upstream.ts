import type { Socket } from 'node:net'
import type { Duplex, Readable } from 'node:stream'
import { type Dispatcher, Pool } from 'undici'
import type { Timeouts } from '../options.ts'
import type { RequestBody } from '../request-body.ts'
import { type UpstreamControl, UpstreamError, type UpstreamHandler, type UpstreamRequest } from './upstream.ts'

/** Connections of undici, for requests with a body and for upgrades. */
export class UndiciUpstream {
  private readonly pool: Pool

  /** @param idleMs an app may close an idle connection without a word, and what was just sent on it is lost (D10) */
  constructor(address: string, idleMs: number, timeouts: Pick<Timeouts, 'connectMs' | 'firstByteMs'>) {
    this.pool = new Pool(`http://${address}`, {
      keepAliveTimeout: idleMs,
      keepAliveMaxTimeout: idleMs,
      headersTimeout: timeouts.firstByteMs,
      bodyTimeout: 0,
      connectTimeout: timeouts.connectMs,
      maxHeaderSize: 64 * 1024,
      allowH2: false,
      pipelining: 1,
    })
  }

  send(request: UpstreamRequest, body: RequestBody | null, upgrade: boolean, handler: UpstreamHandler): void {
    this.pool.dispatch(
      {
        path: request.path,
        method: request.method as Dispatcher.HttpMethod,
        headers: request.headers,
        body: body as unknown as Readable,
        // Else it would close the connection after a GET or DELETE with a body.
        reset: body === null ? undefined : false,
        upgrade: upgrade ? 'websocket' : undefined,
      },
      new Adapter(handler),
    )
  }

  close(): void {
    void this.pool.close()
  }
}

/** From undici's calls to ours. */
class Adapter implements Dispatcher.DispatchHandler {
  private readonly handler: UpstreamHandler

  constructor(handler: UpstreamHandler) {
    this.handler = handler
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    const control: UpstreamControl = {
      reused: false,
      pause: () => controller.pause(),
      resume: () => controller.resume(),
      abort: () => controller.abort(new Error('abandoned')),
    }
    this.handler.onSent(control)
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, _: object, reason?: string): void {
    const headers = flat(controller.rawHeaders)
    if (status < 200) this.handler.onInterim(status, headers)
    else this.handler.onHead(status, reason ?? '', headers)
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.handler.onData(chunk)
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    const trailers = flat(controller.rawTrailers)
    this.handler.onEnd(trailers.length === 0 ? null : trailers)
  }

  onRequestUpgrade(controller: Dispatcher.DispatchController, status: number, _: object, socket: Duplex): void {
    this.handler.onUpgrade(status, flat(controller.rawHeaders), socket as Socket)
  }

  onResponseError(_: Dispatcher.DispatchController | null, error: Error): void {
    const timedOut = (error as NodeJS.ErrnoException).code === 'UND_ERR_HEADERS_TIMEOUT'
    this.handler.onError(timedOut ? new UpstreamError('UPSTREAM_TIMEOUT', error.message) : error)
  }
}

function flat(raw: unknown): string[] {
  if (!Array.isArray(raw)) return []
  return raw.map((part: Buffer | string) => (typeof part === 'string' ? part : part.toString('latin1')))
}
