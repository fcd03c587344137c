import type { Socket } from 'node:net'

/** What an attempt and the connection that carries it say to each other. */

export type UpstreamRequest = {
  method: string
  path: string
  /** Names and values, exactly those that leave: the framing of the body and a wish to upgrade are among them. */
  headers: string[]
  body: UpstreamBody | null
  /** The body goes out in chunks; else the headers tell its length. */
  chunked: boolean
  /** It asks for a WebSocket, so it may be answered with 101. */
  upgrade: boolean
}

/** The body of a request on its way from the client. */
export interface UpstreamBody {
  /** From now on the reader gets it; nobody else can have it any more. */
  start(reader: BodyReader): void
  pause(): void
  resume(): void
  /** Nobody takes the rest. */
  stop(): void
}

export interface BodyReader {
  onBody(chunk: Buffer): void
  onBodyEnd(): void
  /** It has no proper end. */
  onBodyError(error: Error): void
}

/** Called in this order; after `onEnd`, `onUpgrade` or `onError` nothing more is called. */
export interface UpstreamHandler {
  /** A connection is there and the request leaves now; an error before this means that nothing was sent. */
  onSent(control: UpstreamControl): void
  /** Any 1xx but 101; may come more than once. */
  onInterim(status: number, headers: string[]): void
  onHead(status: number, reason: string, headers: string[]): void
  onData(chunk: Buffer): void
  /** @param trailers names and values, or null if there are none */
  onEnd(trailers: string[] | null): void
  /** 101: from now on the socket is the handler's. @param rest what came behind the head */
  onUpgrade(headers: string[], socket: Socket, rest: Buffer): void
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

/** Nobody has refused: the queue of a busy instance is full, or its machine is not there (then the kernel says so, late). */
export function isSlowConnect(error: Error): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'UPSTREAM_CONNECT_TIMEOUT' || code === 'ETIMEDOUT'
}

/** Errors that concern the request or the answer, told by their code. */
export class UpstreamError extends Error {
  readonly code: 'UPSTREAM_CONNECT_TIMEOUT' | 'UPSTREAM_TIMEOUT' | 'UPSTREAM_CLOSED' | 'UPSTREAM_MALFORMED'

  constructor(code: UpstreamError['code'], message: string) {
    super(message)
    this.code = code
  }
}
