import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { SecureContextOptions } from 'node:tls'
import type { Request } from 'express'
import type { Exchange } from './exchange.ts'
import type { Metrics } from './metrics.ts'
import type { Listen, RouterOptions } from './options.ts'
import type { Pipeline } from './pipeline.ts'
import { OWN_ANSWER_HEADER, REFUSALS, type Refusal, refusalBody } from './refusal.ts'

export type ListenerParts = {
  options: RouterOptions
  metrics: Metrics
  tls: SecureContextOptions | null
  pipeline: Pipeline
  requestId: () => string
}

/** A request whose client waits for `100 Continue` before it sends the body. */
export type ExpectingRequest = IncomingMessage & { askForBody?: () => void }

type ClientSocket = Socket & { _httpMessage?: ServerResponse | null; coppiceRefused?: boolean }

/**
 * An HTTP server as strict as node:http can be made; what it still lets through, `request-head.ts` refuses.
 * The parser's own limit on heads is higher than ours, so that ours decide and give a proper answer.
 */
export function createListener(parts: ListenerParts): Server {
  const { options, metrics, tls } = parts
  const handle = parts.pipeline.handle as unknown as (req: IncomingMessage, res: ServerResponse) => void
  const { timeouts } = options
  const settings = {
    insecureHTTPParser: false,
    requireHostHeader: false,
    maxHeaderSize: 32 * 1024,
    headersTimeout: timeouts.requestHeadMs,
    // A live upload has no deadline; bodies that stop arriving have one of their own.
    requestTimeout: 0,
    connectionsCheckingInterval: 500,
    keepAliveTimeout: timeouts.clientKeepAliveMs,
    noDelay: true,
    highWaterMark: 64 * 1024,
    // Requests without a body are the rule; this spares them the life of a stream.
    optimizeEmptyRequests: true,
    shouldUpgradeCallback: isWebSocket,
    ...parts.pipeline.classes,
  }
  const server =
    tls === null
      ? createServer(settings)
      : (createTlsServer({
          ...settings,
          ...tls,
          handshakeTimeout: timeouts.tlsHandshakeMs,
          ALPNProtocols: ['http/1.1'],
        }) as Server)
  // Past 1,000 headers node would judge fewer than it passes on; the limit of our own is far below.
  server.maxHeadersCount = 0
  server.maxConnections = options.limits.maxConnections
  server.on('connection', () => {
    metrics.connections++
  })
  server.on('connection', (socket: Socket) => socket.once('close', () => metrics.connections--))
  server.on('request', handle)
  // Left alone, node would ask for the body before anybody knows whether it is wanted (RFC 9110 10.1.1).
  server.on('checkContinue', (req: ExpectingRequest, res: ServerResponse) => {
    req.askForBody = () => res.writeContinue()
    handle(req, res)
  })
  server.on('checkExpectation', handle)
  server.on('upgrade', (req: IncomingMessage, socket: Duplex, head: Buffer) =>
    upgrade(parts, req, socket as Socket, head),
  )
  server.on('connect', (_req: IncomingMessage, socket: Duplex) => {
    takeOver(socket)
    const client = socket as ClientSocket
    afterAnswers(client, () => refuse(parts, client, REFUSALS.connect))
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    const client = socket as ClientSocket
    const pending = client._httpMessage as
      | (ServerResponse & { req: IncomingMessage & { exchange?: Exchange } })
      | undefined
    if (error.code === 'ECONNRESET' || !client.writable) client.destroy()
    else if (!pending) refuse(parts, client, refusalFor(error))
    // The router's own answer is written already, and whole.
    else if (pending.headersSent && pending.req.exchange?.refusal) client.destroySoon()
    // The body of the request under way is at fault, and nobody has answered it yet.
    else if (!pending.headersSent && !pending.req.complete) refuse(parts, client, refusalFor(error))
    // Words in the middle of an answer would become part of it; before it, they would be taken for it.
    else endBehindAnswers(client)
  })
  return server
}

/** What was asked properly is still answered, then the connection ends. */
function endBehindAnswers(client: ClientSocket): void {
  if (client.coppiceRefused === true) return
  client.coppiceRefused = true
  afterAnswers(client, () => client.destroySoon())
}

/** Acts at once, or when the requests that were pipelined before have their answers. */
function afterAnswers(client: ClientSocket, act: () => void): void {
  const pending = client._httpMessage
  if (pending) pending.once('close', () => setImmediate(() => afterAnswers(client, act)))
  else act()
}

/** Node takes its own error handler off a socket that it hands out; an error without any would end the process. */
function takeOver(socket: Duplex): void {
  socket.on('error', () => socket.destroy())
}

/**
 * Other upgrades (h2c, say), and those pipelined behind a request that is still being answered, are treated as if they
 * had not been asked for (RFC 9110 7.8).
 */
function isWebSocket(req: IncomingMessage): boolean {
  if (req.method !== 'GET' || req.headers.upgrade?.toLowerCase() !== 'websocket') return false
  return !(req.socket as ClientSocket)._httpMessage
}

/** A WebSocket takes the same chain as every request, with a response that can answer "no". */
function upgrade(parts: ListenerParts, req: IncomingMessage, socket: ClientSocket, head: Buffer): void {
  takeOver(socket)
  const res = new parts.pipeline.classes.ServerResponse(req)
  res.shouldKeepAlive = false
  res.assignSocket(socket)
  res.on('finish', () => socket.destroySoon())
  ;(req as Request).upgradeHead = head
  parts.pipeline.handle(req as never, res as never)
}

function refusalFor(error: NodeJS.ErrnoException): Refusal {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return REFUSALS.headersTooLarge
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return REFUSALS.bodyTooLarge
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return REFUSALS.requestTimeout
    default:
      return { status: 400, reason: 'BadRequest', message: 'The request is not valid HTTP/1.1.', close: true }
  }
}

/** An answer without a request: what arrived could not be read as one. */
function refuse(parts: ListenerParts, socket: ClientSocket, refusal: Refusal): void {
  if (socket.coppiceRefused === true || !socket.writable) return
  socket.coppiceRefused = true
  parts.metrics.refused(refusal.reason)
  const { type, body } = refusalBody(refusal, null, parts.requestId())
  socket.end(
    `HTTP/1.1 ${refusal.status} ${refusal.reason}\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `Connection: close\r\n${OWN_ANSWER_HEADER}: ${refusal.reason}\r\n\r\n${body}`,
  )
  // The client may be in the middle of a body: read on for a moment, or a reset makes it lose the answer.
  socket.resume()
  setTimeout(() => socket.destroy(), 1000).unref()
}

/** @returns the port, once it listens; throws what listen() failed with */
export function listenOn(server: Server, where: Listen): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    const target = 'fd' in where ? { fd: where.fd } : { host: where.host, port: where.port, backlog: 1024 }
    server.listen(target, () => {
      server.off('error', reject)
      const address = server.address() as AddressInfo | null
      resolve(address?.port ?? 0)
    })
  })
}
