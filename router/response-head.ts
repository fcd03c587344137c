import { setLoopbackCookie, setRouterCookie } from '../domain/affinity.ts'
import { loopbackCookie } from '../domain/product.ts'
import type { Exchange } from './exchange.ts'
import { isSecure } from './identify.ts'
import { OWN_ANSWER_HEADER } from './refusal.ts'

/** Response headers by lower-case name, as undici gives them. */
export type UpstreamHeaders = Record<string, string | string[] | undefined>

/** Hop-by-hop (RFC 9110 7.6.1), and the header by which people know the router's own answers. */
const DROPPED = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'te',
  'transfer-encoding',
  'upgrade',
  OWN_ANSWER_HEADER.toLowerCase(),
])

/**
 * What the client gets of the instance's headers, as a flat list of names and values.
 * @param newKey key that the session gets with this answer, or null
 */
export function responseHeaders(upstream: UpstreamHeaders, exchange: Exchange, newKey: string | null): string[] {
  const out: string[] = []
  const connection = upstream.connection
  const named = connection === undefined ? null : namedHeaders(String(connection))
  for (const name in upstream) {
    if (DROPPED.has(name) || named?.has(name)) continue
    const value = upstream[name]
    if (newKey !== null && name === 'cache-control') continue
    if (typeof value === 'string') out.push(name, value)
    else if (value !== undefined) for (const one of value) out.push(name, one)
  }
  if (newKey !== null) {
    out.push('cache-control', privately(upstream['cache-control']))
    addCookies(out, exchange, newKey)
  } else if (exchange.wantsTwin && exchange.minted && exchange.key !== null) {
    out.push('set-cookie', setLoopbackCookie(loopbackCookie(exchange.app?.name ?? ''), exchange.key))
  }
  return out
}

function addCookies(out: string[], exchange: Exchange, key: string): void {
  out.push('set-cookie', setRouterCookie(key))
  if (exchange.peer.loopback && !isSecure(exchange)) {
    out.push('set-cookie', setLoopbackCookie(loopbackCookie(exchange.app?.name ?? ''), key))
  }
}

/** A cache that is shared must not hand one client's routing key to others (D8). */
function privately(cacheControl: string | string[] | undefined): string {
  const given = (cacheControl === undefined ? '' : String(cacheControl))
    .split(',')
    .map((directive) => directive.trim())
    .filter((directive) => directive !== '' && !/^(?:public|private|s-maxage=.*)$/i.test(directive))
  return ['private', ...given].join(', ')
}

function namedHeaders(connection: string): Set<string> | null {
  const lower = connection.toLowerCase()
  if (lower === 'keep-alive' || lower === 'close') return null
  return new Set(lower.split(',').map((token) => token.trim()))
}
