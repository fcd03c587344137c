import { type HeaderClass, headerClassOf } from './header-classes.ts'
import type { Limits } from './options.ts'
import { badRequest, REFUSALS, type Refusal } from './refusal.ts'
import { Spellings } from './spellings.ts'

/** The head of a request, read in one pass: what is forwarded is exactly what was judged here (R13.1). */
export type RequestHead = {
  /** Names and values to pass on, in the order they came; those that the router decides itself are not among them. */
  headers: string[]
  host: string | null
  cookies: string[] | null
  routingKey: string | null
  namingKey: string | null
  accept: string | null
  upgrade: string | null
  forwardedFor: string | null
  forwardedHost: string | null
  forwardedProto: string | null
  realIp: string | null
  requestId: string | null
  /** Bytes, or null if there is no Content-Length. */
  contentLength: string | null
  chunked: boolean
}

/** What node:http knows of a request when its head has arrived. */
export type ParsedRequest = { method?: string; url?: string; httpVersion: string; rawHeaders: string[] }

export class HeadReader {
  private readonly classes = new Spellings(headerClassOf)
  private readonly limits: Limits

  constructor(limits: Limits) {
    this.limits = limits
  }

  /**
   * @param trusted the peer is a trusted proxy, whose word on who the client is stands
   * @returns the head, or why the request is refused
   */
  read(request: ParsedRequest, trusted: boolean): RequestHead | Refusal {
    const raw = request.rawHeaders
    if (raw.length > this.limits.maxHeaders * 2) return REFUSALS.headersTooLarge
    const head: RequestHead = {
      headers: [],
      host: null,
      cookies: null,
      routingKey: null,
      namingKey: null,
      accept: null,
      upgrade: null,
      forwardedFor: null,
      forwardedHost: null,
      forwardedProto: null,
      realIp: null,
      requestId: null,
      contentLength: null,
      chunked: false,
    }
    const out = head.headers
    let bytes = 0
    let connection = ''
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i] as string
      const value = raw[i + 1] as string
      bytes += name.length + value.length
      const kind: HeaderClass = this.classes.of(name)
      switch (kind) {
        case 'pass':
          out.push(name, value)
          break
        case 'drop':
          break
        case 'host':
          if (head.host !== null) return badRequest('The request has more than one Host header.')
          head.host = value
          out.push(name, value)
          break
        case 'cookie':
          if (head.cookies === null) head.cookies = [value]
          else head.cookies.push(value)
          break
        case 'connection':
          connection = connection === '' ? value : `${connection},${value}`
          break
        case 'contentLength':
          if (head.contentLength !== null) return badRequest('The request has more than one Content-Length header.')
          if (!/^\d{1,15}$/.test(value)) return badRequest('The Content-Length is not a number.')
          head.contentLength = value
          break
        case 'transferEncoding':
          if (head.chunked || value.toLowerCase() !== 'chunked') {
            return badRequest('The only transfer encoding understood here is "chunked", once.')
          }
          head.chunked = true
          break
        case 'upgrade':
          head.upgrade = value
          break
        case 'routingKey':
          head.routingKey ??= value
          out.push(name, value)
          break
        case 'namingKey':
          // Between the client and the router: no app gets it, whatever is in it.
          head.namingKey ??= value
          break
        case 'accept':
          head.accept ??= value
          out.push(name, value)
          break
        case 'forwardedFor':
          if (trusted) head.forwardedFor = head.forwardedFor === null ? value : `${head.forwardedFor}, ${value}`
          break
        case 'forwardedHost':
          if (trusted) head.forwardedHost ??= value
          break
        case 'forwardedProto':
          if (trusted) head.forwardedProto ??= value
          break
        case 'realIp':
          if (trusted) head.realIp ??= value
          break
        case 'requestId':
          if (trusted) head.requestId ??= value
          break
        case 'forwarded':
          if (trusted) out.push(name, value)
          break
      }
    }
    if (bytes > this.limits.maxHeaderBytes) return REFUSALS.headersTooLarge
    if (connection !== '' && namesHeaders(connection)) dropNamed(head, connection)
    return this.judge(request, head) ?? head
  }

  private judge(request: ParsedRequest, head: RequestHead): Refusal | null {
    const version = request.httpVersion
    if (version !== '1.1' && version !== '1.0') return badRequest('The versions of HTTP spoken here are 1.0 and 1.1.')
    if (head.chunked) {
      if (version === '1.0') return badRequest('HTTP/1.0 has no transfer encodings.')
      if (head.contentLength !== null) return badRequest('The request has both Content-Length and Transfer-Encoding.')
    }
    if (head.host === null) {
      if (version === '1.1') return badRequest('The request has no Host header.')
    } else if (!HOST.test(head.host)) {
      return badRequest('The Host header is not a host name with an optional port.')
    }
    const target = request.url ?? ''
    if (target.length > this.limits.maxUriBytes) return REFUSALS.uriTooLong
    return judgeTarget(request, target, head.host)
  }
}

/** A registered name, an IPv4 address or an IPv6 address in brackets, and a port (RFC 9110 7.2, without the rarities). */
const HOST = /^(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{0,5})?$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
const NOT_IN_TARGET = /[\x00-\x20\x7f-\uffff#]/

/** Turns an absolute form into the origin form that apps expect; its authority has to be the Host (RFC 9112 3.2.2). */
function judgeTarget(request: ParsedRequest, target: string, host: string | null): Refusal | null {
  if (NOT_IN_TARGET.test(target)) return badRequest('The request target has characters that it must not have.')
  if (target.charCodeAt(0) === 0x2f) return null
  if (target === '*' && request.method === 'OPTIONS') return null
  const absolute = /^(https?):\/\/([^/?]*)(\/[^?]*)?(\?.*)?$/i.exec(target)
  if (absolute === null) return badRequest('The request target is not a path.')
  if (host === null || authority(absolute[2] as string, absolute[1]) !== authority(host, absolute[1])) {
    return badRequest('The request target names another host than the Host header.')
  }
  request.url = `${absolute[3] ?? '/'}${absolute[4] ?? ''}`
  return null
}

/** The name in a Host, in lower case: without the port, and without the dot that ends a name in the DNS. */
export function hostName(host: string | null): string {
  if (host === null) return ''
  const colon = host.lastIndexOf(':')
  const end = colon > host.lastIndexOf(']') ? colon : host.length
  return host.slice(0, end > 0 && host.charCodeAt(end - 1) === 0x2e ? end - 1 : end).toLowerCase()
}

/** A name and a port, such that equal ones are equal (RFC 9110 4.2.3): an empty port is the scheme's. */
function authority(host: string, scheme = 'http'): string {
  const port = /:(\d*)$/.exec(host)?.[1] ?? ''
  return `${hostName(host)}:${port === '' ? (scheme.toLowerCase() === 'https' ? '443' : '80') : port}`
}

function namesHeaders(connection: string): boolean {
  const lower = connection.toLowerCase()
  return lower !== 'keep-alive' && lower !== 'close' && lower !== 'upgrade'
}

/** Headers that a Connection header names end here (RFC 9110 7.6.1), but it cannot name away what the router adds. */
function dropNamed(head: RequestHead, connection: string): void {
  const named = new Set(
    connection
      .toLowerCase()
      .split(',')
      .map((token) => token.trim()),
  )
  const kept: string[] = []
  for (let i = 0; i < head.headers.length; i += 2) {
    const name = head.headers[i] as string
    if (!named.has(name.toLowerCase())) kept.push(name, head.headers[i + 1] as string)
  }
  head.headers = kept
  if (named.has('host') && head.host !== null) head.headers.push('host', head.host)
  if (named.has('cookie')) head.cookies = null
  if (named.has('x-routing-key')) head.routingKey = null
}
