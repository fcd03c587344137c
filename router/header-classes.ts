/** What becomes of a header of a request on its way through. */
import { NAMING_KEY_HEADER } from '../domain/served-by.ts'

export type HeaderClass =
  | 'pass'
  /** Concerns one connection only (RFC 9110 7.6.1), or is decided anew by the router. */
  | 'drop'
  | 'host'
  | 'cookie'
  | 'connection'
  | 'contentLength'
  | 'transferEncoding'
  | 'upgrade'
  | 'routingKey'
  | 'namingKey'
  | 'accept'
  /** Says who the client is: believed from a trusted proxy only (R13.2). */
  | 'forwardedFor'
  | 'forwardedHost'
  | 'forwardedProto'
  | 'realIp'
  | 'requestId'
  | 'forwarded'

const EXACT = new Map<string, HeaderClass>([
  ['connection', 'connection'],
  ['keep-alive', 'drop'],
  ['proxy-connection', 'drop'],
  ['proxy-authorization', 'drop'],
  ['proxy-authenticate', 'drop'],
  ['te', 'drop'],
  // Trailers of requests are not passed on, so none are announced.
  ['trailer', 'drop'],
  // Answered by the router itself.
  ['expect', 'drop'],
  ['http2-settings', 'drop'],
  ['host', 'host'],
  ['cookie', 'cookie'],
  ['content-length', 'contentLength'],
  ['transfer-encoding', 'transferEncoding'],
  ['upgrade', 'upgrade'],
  ['x-routing-key', 'routingKey'],
  [NAMING_KEY_HEADER.toLowerCase(), 'namingKey'],
  ['accept', 'accept'],
  ['x-forwarded-for', 'forwardedFor'],
  ['x-forwarded-host', 'forwardedHost'],
  ['x-forwarded-proto', 'forwardedProto'],
  ['x-request-id', 'requestId'],
  ['x-real-ip', 'realIp'],
  ['forwarded', 'forwarded'],
])

export function headerClassOf(name: string): HeaderClass {
  const lower = name.toLowerCase()
  const exact = EXACT.get(lower)
  if (exact !== undefined) return exact
  // CGI and WSGI make the same variable of X_Forwarded_User and X-Forwarded-User: neither comes in from outside.
  const dashed = lower.replaceAll('_', '-')
  if (dashed.startsWith('x-forwarded-')) return 'forwarded'
  if (dashed !== lower && EXACT.has(dashed)) return 'drop'
  return 'pass'
}
