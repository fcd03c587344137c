/** What sends a request to an instance; two ways exist behind this: our own connections, and undici's. */

export type UpstreamRequest = {
  method: string
  path: string
  /** Names and values, `host` among them, nothing of the connection. */
  headers: string[]
}

/** Called in this order; after `onEnd`, `onUpgrade` or `onError` nothing more is called. */
export interface UpstreamHandler {
  /** A connection is there and the request leaves now; an error before this means that nothing was sent. */
  onSent(control: UpstreamControl): void
  /** 102 or 103; may come more than once. */
  onInterim(status: number, headers: string[]): void
  onHead(status: number, reason: string, headers: string[]): void
  onData(chunk: Buffer): void
  /** @param trailers names and values, or null if there are none */
  onEnd(trailers: string[] | null): void
  onUpgrade(status: number, headers: string[], socket: import('node:net').Socket): void
  onError(error: Error): void
}

export interface UpstreamControl {
  /** The connection had been idle: the instance may have closed it before it read this request. */
  readonly reused: boolean
  /** The client cannot take more at the moment. */
  pause(): void
  resume(): void
  /** Nobody wants the answer any more; ends the connection. */
  abort(): void
}

/** Errors that concern the request or the answer, told by their code. */
export class UpstreamError extends Error {
  readonly code: 'UPSTREAM_CONNECT_TIMEOUT' | 'UPSTREAM_TIMEOUT' | 'UPSTREAM_CLOSED' | 'UPSTREAM_MALFORMED'

  constructor(code: UpstreamError['code'], message: string) {
    super(message)
    this.code = code
  }
}
