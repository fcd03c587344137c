import { randomUUID } from 'node:crypto'
import type { RequestHandler } from 'express'
import { digestKey, isMinted, keyFromHeader } from '../domain/affinity.ts'
import { loopbackCookie } from '../domain/product.ts'
import { isOwnHost } from '../domain/web-origin.ts'
import { Exchange } from './exchange.ts'
import { opensNames } from './naming.ts'
import type { Peers } from './peer.ts'
import { REFUSALS } from './refusal.ts'
import { type HeadReader, hostName, type RequestHead } from './request-head.ts'
import type { RouterCookies } from './router-cookie.ts'
import type { Routes } from './routes.ts'

export type IdentifyParts = {
  heads: HeadReader
  peers: Peers
  routes: Routes
  cookies: RouterCookies
  /** See RouterOptions. */
  hosts: readonly string[]
}

/** First in the chain: who asks, for which app, in which session. Malformed requests get their refusal here. */
export function identify({ heads, peers, routes, cookies, hosts }: IdentifyParts): RequestHandler {
  const names: ReadonlySet<string> = new Set(hosts)
  return (req, res, next) => {
    const peer = peers.of(req.socket)
    // Reset before it was read: nobody to answer, and nobody in whose name an app could be asked.
    if (peer.ip === '') {
      req.socket.destroy()
      return
    }
    const exchange = new Exchange(req, res, peer, performance.now())
    req.exchange = exchange
    const head = heads.read(req, peer.trusted)
    if ('status' in head) {
      exchange.requestId = randomUUID()
      exchange.refusal = head
      next()
      return
    }
    exchange.head = head
    // Node's parser reads nothing behind an upgrade that was asked for, also when it was not granted.
    if (head.upgrade !== null) res.shouldKeepAlive = false
    exchange.requestId = head.requestId ?? randomUUID()
    exchange.hasBody = head.chunked || (head.contentLength !== null && head.contentLength !== '0')
    exchange.idempotent = !exchange.hasBody && isIdempotent(req.method)
    const ofHost = routes.forHost(hostName(head.host))
    const ofPort = routes.forPort(peer.localPort)
    exchange.app = ofPort ?? ofHost ?? null
    // A port is all that a page needs to guess; then its own name leads to the app, and the app's answers are its own.
    if (
      ofPort !== undefined &&
      ofPort !== ofHost &&
      !peer.trusted &&
      head.host !== null &&
      !isOwnHost(head.host, names)
    )
      exchange.refusal = REFUSALS.foreignHost
    if (head.namingKey !== null) {
      exchange.named = opensNames(head.namingKey, exchange.app?.row.namingDigest ?? null)
    }
    findSession(exchange, head, cookies)
    next()
  }
}

/** Of a standard app, too: it may be a scaled one when a request that waits gets its instance (R5.1). */
function findSession(exchange: Exchange, head: RequestHead, cookies: RouterCookies): void {
  const app = exchange.app?.name ?? null
  const onPlainLoopback = app !== null && exchange.peer.loopback && !isSecure(exchange)
  let cookieKey: string | null = null
  if (head.cookies !== null) {
    const twinName = onPlainLoopback ? loopbackCookie(app) : null
    const { key, twin, rest } = cookies.read(head.cookies, twinName)
    head.cookies = rest
    // The twin names its app; the other cookie is shared by all apps on ports of one loopback address.
    cookieKey = twin ?? key
    exchange.wantsTwin = onPlainLoopback && twin === null
  }
  const headerKey = head.routingKey === null ? null : keyFromHeader(head.routingKey)
  exchange.key = headerKey ?? cookieKey
  if (exchange.key !== null) {
    exchange.digest = digestKey(exchange.key)
    exchange.minted = headerKey === null && isMinted(exchange.key)
  }
}

/** Whether the client speaks TLS, to the router or to a trusted proxy before it. */
export function isSecure(exchange: Exchange): boolean {
  return exchange.peer.tls || exchange.head?.forwardedProto === 'https'
}

function isIdempotent(method: string): boolean {
  switch (method) {
    case 'GET':
    case 'HEAD':
    case 'OPTIONS':
    case 'PUT':
    case 'DELETE':
    case 'TRACE':
      return true
    default:
      return false
  }
}
