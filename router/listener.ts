import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { SecureContextOptions } from 'node:tls'
import type { Request } from 'express'
import { ClientConnection, type ClientSocket, linger, takeVersions, whenAnswered } from './client-connection.ts'
import { ClientStalls } from './client-stalls.ts'
import type { Metrics } from './metrics.ts'
import type { Listen, RouterOptions } from './options.ts'
import type { Pipeline } from './pipeline.ts'
import { badRequest, OWN_ANSWER_HEADER, REFUSALS, type Refusal, refusalBody } from './refusal.ts'
import type { TurnedAway } from './turned-away.ts'

export type ListenerParts = {
  options: RouterOptions
  metrics: Metrics
  tls: SecureContextOptions | null
  pipeline: Pipeline
  requestId: () => string
  turnedAway: TurnedAway
}

/** Of the parser; the limit of our own is lower. */
const MAX_HEAD_BYTES = 32 * 1024

/** A request whose client waits for `100 Continue` before it sends the body. */
export type ExpectingRequest = IncomingMessage & { askForBody?: () => void }

/** A client that was told that its connection ends, or will be when the answer under way is sent. */
type RefusedSocket = ClientSocket & { coppiceRefused?: boolean }

/**
 * An HTTP server as strict as node:http can be made; what it still lets through, `request-head.ts` refuses.
 * The parser's own limit on heads is higher than ours, so that ours decide and give a proper answer.
 */
export function createListener(parts: ListenerParts): Server {
  const { options, metrics, tls, turnedAway } = parts
  const handle = parts.pipeline.handle as unknown as (req: IncomingMessage, res: ServerResponse) => void
  const { timeouts } = options
  const settings = {
    insecureHTTPParser: false,
    requireHostHeader: false,
    maxHeaderSize: MAX_HEAD_BYTES,
    headersTimeout: timeouts.requestHeadMs,
    // A live upload has no deadline; bodies that stop arriving have one of their own.
    requestTimeout: 0,
    connectionsCheckingInterval: 500,
    keepAliveTimeout: timeouts.clientKeepAliveMs,
    noDelay: true,
    keepAlive: timeouts.clientProbeMs > 0,
    // Node would round down.
    keepAliveInitialDelay: Math.ceil(timeouts.clientProbeMs / 1000) * 1000,
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
          allowHalfOpen: true,
          handshakeTimeout: timeouts.tlsHandshakeMs,
          ALPNProtocols: ['http/1.1'],
        }) as Server)
  // See ClientConnection.ended.
  Object.assign(server, { httpAllowHalfOpen: true })
  // Past 1,000 headers node would judge fewer than it passes on; the limit of our own is far below.
  server.maxHeadersCount = 0
  server.on('connection', (socket) => {
    // Of all listeners of this process.
    if (!turnedAway.admits(socket, metrics.connections)) {
      socket.destroy()
      return
    }
    metrics.connections++
    socket.once('close', () => metrics.connections--)
  })
  // Without a listener an accept that fails would end the process.
  server.on('error', (error) => turnedAway.failedToAccept(error))
  const stalls = new ClientStalls(timeouts.writeStallMs)
  // Behind node's own listener, which gives the connection its parser.
  server.on(tls === null ? 'connection' : 'secureConnection', (socket: ClientSocket) => {
    if (socket.destroyed) return
    takeVersions(socket, server, MAX_HEAD_BYTES)
    new ClientConnection(socket, timeouts.clientHalfClosedMs)
    stalls.watch(socket)
  })
  server.on('request', handle)
  // Left alone, node would ask for the body before anybody knows whether it is wanted (RFC 9110 10.1.1).
  server.on('checkContinue', (req: ExpectingRequest, res: ServerResponse) => {
    req.askForBody = () => res.writeContinue()
    handle(req, res)
  })
  server.on('checkExpectation', handle)
  server.on('upgrade', (req: IncomingMessage, socket: Duplex, head: Buffer) => {
    const client = takeOver(socket)
    whenAnswered(client, () => upgrade(parts, req, client, head))
  })
  server.on('connect', (_req: IncomingMessage, socket: Duplex) => {
    const client = takeOver(socket)
    whenAnswered(client, () => refuse(parts, client, REFUSALS.connect))
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    const client = socket as RefusedSocket
    if (error.code === 'HPE_PAUSED') client.connection?.hold(error as never)
    else if (error.code === 'ECONNRESET' || !client.writable) client.destroy()
    else if (isUnused(client, error)) endUnlessUsed(client, timeouts.clientKeepAliveMs - timeouts.requestHeadMs)
    else if (client.coppiceRefused !== true) {
      client.coppiceRefused = true
      cannotRead(parts, client, refusalFor(error))
    }
  })
  return server
}

/**
 * Clients connect ahead: Go's opens a connection for a request that then goes out on another one, browsers for what may
 * come. Node counts the time for a head from there. A 408 would be taken for the answer to whatever comes first on it;
 * three of 96,000 requests were lost by that on a busy machine. So the connection is idle, like one that was used before,
 * and the time for a head begins with its first byte.
 */
const isUnused = (client: ClientSocket, error: NodeJS.ErrnoException): boolean =>
  error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && client.bytesRead === 0

function endUnlessUsed(client: ClientSocket, afterMs: number): void {
  const timer = setTimeout(() => {
    if (client.bytesRead === 0) client.destroy()
  }, afterMs)
  client.once('close', () => clearTimeout(timer))
}

/** What the client sends is no request, or no body of the request under way. */
function cannotRead(parts: ListenerParts, client: ClientSocket, refusal: Refusal): void {
  const underWay = client._httpMessage
  // What was asked properly is still answered. Words in the middle of an answer would become part of it; before it, they
  // would be taken for it.
  if (!underWay || underWay.req.complete) whenAnswered(client, () => refuse(parts, client, refusal))
  // Its body is at fault.
  else if (!underWay.headersSent) refuse(parts, client, refusal)
  // The router's own answer is written already, and whole.
  else if (underWay.req.exchange?.refusal) client.destroySoon()
  else whenAnswered(client, () => client.destroySoon())
}

/**
 * Node takes its own listeners off a socket that it hands out. An error without any would end the process, and an answer
 * still under way has to hear that it may go on.
 */
function takeOver(socket: Duplex): ClientSocket {
  const client = socket as ClientSocket
  client.on('error', () => client.destroy())
  const underWay = client._httpMessage
  if (underWay) client.on('drain', () => underWay.emit('drain'))
  return client
}

/**
 * Other upgrades (h2c, say), and any in HTTP/1.0, are treated as if they had not been asked for (RFC 9110 7.8); so is one
 * with a body, which would be lost in what comes behind an upgrade.
 */
function isWebSocket(req: IncomingMessage): boolean {
  const { method, headers, httpVersion } = req
  return method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket' && httpVersion !== '1.0' && !hasBody(req)
}

/** A WebSocket takes the same chain as every request, with a response that can answer "no". */
function upgrade(parts: ListenerParts, req: IncomingMessage, socket: ClientSocket, head: Buffer): void {
  // The answer before it was the last one of this connection.
  if (!socket.writable) {
    socket.destroy()
    return
  }
  if (isWebSocket(req)) (req as Request).upgradeHead = head
  // Another upgrade gets here only from behind an answer that was under way. Its body would be in what nobody parses now.
  else if (hasBody(req)) {
    refuse(parts, socket, badRequest('The request asks for an upgrade and has a body.'))
    return
  }
  const res = new parts.pipeline.classes.ServerResponse(req)
  res.shouldKeepAlive = false
  res.assignSocket(socket)
  res.on('finish', () => socket.destroySoon())
  parts.pipeline.handle(req as never, res as never)
}

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined

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
  if (!socket.writable) return
  parts.metrics.refused(refusal.reason)
  const { type, body } = refusalBody(refusal, null, parts.requestId())
  socket.write(
    `HTTP/1.1 ${refusal.status} ${refusal.reason}\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `Connection: close\r\n${OWN_ANSWER_HEADER}: ${refusal.reason}\r\n\r\n${body}`,
  )
  linger(socket)
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
