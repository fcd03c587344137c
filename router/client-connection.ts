import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Exchange } from './exchange.ts'

/** What llhttp takes as "stop here" from the callback behind a head. */
const HPE_PAUSED = 21
/** How long a client may go on sending what nobody reads, so that it finds the answer before it. */
const LINGER_MS = 1000

/** A connection of a client with what node:http keeps on it. */
export type ClientSocket = Socket & {
  /** The answer under way; `_last`: the connection ends with it. */
  _httpMessage?: (ServerResponse & { req: IncomingMessage & { exchange?: Exchange }; _last: boolean }) | null
  /** Null once the connection has ended or was handed over for an upgrade. */
  parser: Parser | null
  connection?: ClientConnection
}

type Head = IncomingMessage & { upgrade?: boolean }
type Parser = {
  constructor: { REQUEST: number; kLenientVersion?: number }
  onIncoming(req: Head, keepAlive: boolean): number
  resume(): void
  remove(): void
  initialize(type: number, resource: object, maxHeaderBytes: number, lenient: number, connections: unknown): void
}
type Paused = NodeJS.ErrnoException & { rawPacket: Buffer; bytesParsed: number }

/**
 * Lets the requests of one connection in one after the other: the next is begun when the answer before it has been
 * sent (RFC 9112 9.3.2). node:http hands all that a client has pipelined to the handler at once, by which one client
 * opens thousands of connections to an instance, and unsafe requests overtake each other.
 *
 * States: `open`, until a head comes while an answer is under way; then the parser stops right behind that head and the
 * connection is `held`, until the answer is sent. Of what the client sent beyond it at most two reads (64 kB each) are
 * kept; the rest stays in the kernel. Reading goes on within that bound, so a client that goes away is noticed. With
 * nothing pipelined this costs a request one comparison.
 */
export class ClientConnection {
  private readonly socket: ClientSocket
  private readonly parser: Parser
  private readonly begin: Parser['onIncoming']
  /** node's own listener. */
  private readonly onEnd: () => void
  private readonly halfClosedMs: number
  /** What came behind the head that waits; null while open. */
  private rest: Buffer | null = null

  /** @param halfClosedMs how long a client that has closed its side may be sent nothing; 0 for any time */
  constructor(socket: ClientSocket, halfClosedMs: number) {
    this.socket = socket
    this.halfClosedMs = halfClosedMs
    this.parser = socket.parser as Parser
    this.begin = this.parser.onIncoming
    this.onEnd = socket.listeners('end').at(-1) as () => void
    socket.off('end', this.onEnd).on('end', () => this.ended())
    this.parser.onIncoming = (req, keepAlive) => this.incoming(req, keepAlive)
    socket.connection = this
  }

  private incoming(req: Head, keepAlive: boolean): number {
    const { socket } = this
    const underWay = socket._httpMessage
    // What is said in a later minor version is understood as in the one spoken here (RFC 9110 2.5).
    if (req.httpVersionMinor > 1 && req.httpVersionMajor === 1) {
      req.httpVersionMinor = 1
      req.httpVersion = '1.1'
    }
    if (!underWay && socket.writable) return this.begin(req, keepAlive)
    // What comes behind the last answer of a connection is not carried out (RFC 9112 9.6): it stays held.
    // An upgrade is handed over by node, with the connection; whoever takes it waits (`whenAnswered`).
    if (underWay && !req.upgrade) whenAnswered(socket, () => this.next(req, keepAlive))
    return HPE_PAUSED
  }

  /** The parser has stopped behind a head, by the word of `incoming`. */
  hold(paused: Paused): void {
    const { socket } = this
    this.rest = paused.rawPacket.subarray(paused.bytesParsed)
    // A listener takes the reading away from the parser, which would read past a pause.
    socket.on('data', ignore).off('data', ignore)
    socket.pause()
    // If an answer ends the connection, what is held makes the kernel reset it.
    socket.destroySoon = () => linger(socket)
  }

  private next(req: Head, keepAlive: boolean): void {
    const { socket, parser, rest } = this
    // The client has gone, or the answer before it was the last.
    if (socket.parser !== parser || !socket.writable || rest === null) return
    this.rest = null
    this.begin(req, keepAlive)
    parser.resume()
    socket.resume()
    socket.emit('data', rest)
    // The end came while this was held.
    if (socket.readableEnded) this.ended()
  }

  /**
   * The client has sent all that it ever will. That is no word about its answers: it may have gone, or have closed its side
   * only and wait (as `nc` does). It is taken for the second, as HAProxy takes it: what it has asked for is answered. One
   * that has gone is found out by the first write that it does not take (or by a reset, at once); where nothing is
   * written, after `halfClosedMs`.
   */
  private ended(): void {
    const { socket } = this
    // The parser has not seen all of it; or the connection is a tunnel's by now.
    if (this.rest !== null || socket.parser === null) return
    this.onEnd()
    const underWay = socket._httpMessage
    if (!underWay) return
    // Not if it ended in the middle of another, which is refused behind this answer.
    if (underWay._last) underWay.shouldKeepAlive = false
    socket.setTimeout(this.halfClosedMs)
  }
}

/**
 * Lets the parser read heads of HTTP/1.2 to 1.9, which are to be taken for 1.1 (RFC 9110 2.5) and which it refuses by
 * itself. That it does not is one of its leniencies, and concerns these two digits alone; node can be told of all
 * leniencies only, which no router may have. So the parser is set up once more, as node has set it up, but for this one.
 * What else it lets through then (0.9, 2.0) `request-head.ts` refuses. Should a later node lack any of this, HTTP/1.2 is
 * refused again, and nothing else changes.
 */
export function takeVersions(socket: ClientSocket, server: object, maxHeaderBytes: number): void {
  const parser = socket.parser as Parser
  const { REQUEST, kLenientVersion } = parser.constructor
  const tracked = Object.getOwnPropertySymbols(server).find((one) => one.description === 'http.server.connections')
  if (kLenientVersion === undefined || tracked === undefined) return
  // Off the list of connections whose deadlines node watches, and on it again.
  parser.remove()
  parser.initialize(
    REQUEST,
    { type: 'HTTPINCOMINGMESSAGE', socket },
    maxHeaderBytes,
    kLenientVersion,
    (server as Record<symbol, unknown>)[tracked],
  )
}

/** Acts at once, or when the answer under way has been sent; a turn of the event loop later, which is that of others. */
export function whenAnswered(socket: ClientSocket, act: () => void): void {
  const underWay = socket._httpMessage
  if (underWay) underWay.once('close', () => setImmediate(act))
  else act()
}

/**
 * Ends a connection on which the client may still be sending. Closed at once, the kernel would answer the rest with a
 * reset, which makes the client lose the answer before it (RFC 9112 9.6).
 */
export function linger(socket: Socket): void {
  socket.end()
  socket.removeAllListeners('data').on('data', ignore)
  socket.resume()
  setTimeout(() => socket.destroy(), LINGER_MS).unref()
}

function ignore(): void {}
