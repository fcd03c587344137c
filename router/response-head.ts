import { setLoopbackCookie, setRouterCookie } from '../domain/affinity.ts'
import { loopbackCookie } from '../domain/product.ts'
import { SERVED_BY_HEADER } from '../domain/served-by.ts'
import type { Exchange } from './exchange.ts'
import { isSecure } from './identify.ts'
import { OWN_ANSWER_HEADER } from './refusal.ts'
import type { RouterCookies } from './router-cookie.ts'
import { Spellings } from './spellings.ts'

type HeaderClass =
  | 'pass'
  | 'drop'
  | 'connection'
  | 'cacheControl'
  | 'contentType'
  | 'contentLength'
  | 'servedBy'
  | 'setCookie'
  | 'trailer'
  | 'upgrade'

const CLASSES = new Map<string, HeaderClass>([
  ['connection', 'connection'],
  // Hop-by-hop (RFC 9110 7.6.1); the framing towards the client is node's.
  ['keep-alive', 'drop'],
  ['proxy-connection', 'drop'],
  ['proxy-authenticate', 'drop'],
  ['te', 'drop'],
  ['transfer-encoding', 'drop'],
  // By which people know the router's own answers.
  [OWN_ANSWER_HEADER.toLowerCase(), 'drop'],
  ['cache-control', 'cacheControl'],
  ['content-type', 'contentType'],
  ['content-length', 'contentLength'],
  [SERVED_BY_HEADER.toLowerCase(), 'servedBy'],
  ['set-cookie', 'setCookie'],
  ['trailer', 'trailer'],
  ['upgrade', 'upgrade'],
])

/** What the client gets of the head of an answer. */
export type ResponseHead = {
  headers: string[]
  isEventStream: boolean
  /** It says to which protocol the client should change, which takes a `Connection: Upgrade` beside it. */
  offersUpgrade: boolean
}

export class ResponseHeads {
  private readonly classes = new Spellings<HeaderClass>((name) => CLASSES.get(name.toLowerCase()) ?? 'pass')
  private readonly cookies: RouterCookies

  constructor(cookies: RouterCookies) {
    this.cookies = cookies
  }

  /**
   * @param received names and values as the instance sent them
   * @param newKey key that the session gets with this answer, or null
   * @param servedBy what the client is told of who answers, or null
   */
  read(
    status: number,
    received: string[],
    exchange: Exchange,
    newKey: string | null,
    servedBy: string | null,
  ): ResponseHead {
    const out: string[] = []
    let isEventStream = false
    const isInSession = exchange.app?.row.affinity === true && exchange.key !== null
    const twinOnly = newKey === null && exchange.wantsTwin && exchange.minted && isInSession
    const setsCookie = newKey !== null || twinOnly
    const isOfOneClient = setsCookie || exchange.named
    let connection = ''
    let cacheControl = ''
    let isSized = false
    let trailer = ''
    let upgrade = ''
    for (let i = 0; i < received.length; i += 2) {
      const name = received[i] as string
      const value = received[i + 1] as string
      switch (this.classes.of(name)) {
        case 'pass':
          out.push(name, value)
          break
        case 'drop':
          break
        case 'connection':
          connection += `,${value}`
          break
        case 'cacheControl':
          if (!isOfOneClient) out.push(name, value)
          else cacheControl += `,${value}`
          break
        case 'contentType':
          isEventStream = value.startsWith('text/event-stream')
          out.push(name, value)
          break
        case 'contentLength':
          // RFC 9110 8.6: not with a 101 and not with a 204.
          if (status === 101 || status === 204) break
          isSized = true
          // Forbidden where there can be no content at all (RFC 9110 8.6). A 304 says what a 200 would have had.
          if (status >= 200 && status !== 204) out.push(name, value)
          break
        case 'servedBy':
          // Whoever is told by the router is told by nobody else; to others this header is the app's affair.
          if (servedBy === null) out.push(name, value)
          break
        case 'setCookie':
          if (!this.cookies.setBy(value)) out.push(name, value)
          break
        case 'trailer':
          trailer += trailer === '' ? value : `, ${value}`
          break
        case 'upgrade':
          // Of one connection only, but a 426 says nothing without it (RFC 9110 15.5.22); HTTP/1.0 has none.
          if (status === 426 && exchange.req.httpVersion !== '1.0') upgrade += upgrade === '' ? value : `, ${value}`
          break
      }
    }
    const headers = connection === '' ? out : withoutNamed(out, connection)
    // Announced where none can come they would be false, and node throws.
    if (trailer !== '' && !isSized && takesTrailers(status, exchange)) headers.push('trailer', trailer)
    if (upgrade !== '') headers.push('upgrade', upgrade)
    if (servedBy !== null) headers.push(SERVED_BY_HEADER, servedBy)
    if (isOfOneClient) headers.push('cache-control', privately(cacheControl))
    if (newKey !== null) addCookies(headers, exchange, newKey)
    else if (twinOnly) {
      headers.push('set-cookie', setLoopbackCookie(loopbackCookie(exchange.app?.name ?? ''), exchange.key as string))
    }
    return { headers, isEventStream, offersUpgrade: upgrade !== '' }
  }

  /**
   * What passes of the fields of an interim answer, and of trailers: nothing that frames, routes or sets our cookie.
   * @param told the router says who answers
   */
  readAside(received: string[], told: boolean): string[] {
    const out: string[] = []
    for (let i = 0; i < received.length; i += 2) {
      const name = received[i] as string
      const value = received[i + 1] as string
      const kind = this.classes.of(name)
      const passes =
        kind === 'pass' || (kind === 'setCookie' && !this.cookies.setBy(value)) || (kind === 'servedBy' && !told)
      if (passes) out.push(name, value)
    }
    return out
  }
}

function addCookies(out: string[], exchange: Exchange, key: string): void {
  out.push('set-cookie', setRouterCookie(key))
  if (exchange.peer.loopback && !isSecure(exchange)) {
    out.push('set-cookie', setLoopbackCookie(loopbackCookie(exchange.app?.name ?? ''), key))
  }
}

/** A cache that is shared must not hand one client's routing key to others (D8), nor what only the one may hear. */
function privately(cacheControl: string): string {
  const given = cacheControl
    .split(',')
    .map((directive) => directive.trim())
    .filter((directive) => directive !== '' && !/^(?:public|private|s-maxage=.*)$/i.test(directive))
  return ['private', ...given].join(', ')
}

/** Only a body in chunks has room for trailers, and node sends one in chunks where it may and no length is known. */
function takesTrailers(status: number, { req, res }: Exchange): boolean {
  return res.useChunkedEncodingByDefault && req.method !== 'HEAD' && status !== 204 && status !== 304
}

function withoutNamed(headers: string[], connection: string): string[] {
  const lower = connection.toLowerCase()
  if (lower === ',keep-alive' || lower === ',close') return headers
  const named = new Set(lower.split(',').map((token) => token.trim()))
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (!named.has(name.toLowerCase())) kept.push(name, headers[i + 1] as string)
  }
  return kept
}
