import { CoppiceError } from './errors.ts'

/**
 * Keeps web pages away from what listens here (R13.7). A browser sends requests to loopback for any page that asks it
 * to; the page cannot read the answer, but the request has happened. By DNS rebinding it can read it too: the page's own
 * name leads here all of a sudden. Programs (curl, SDKs, routers) send neither `Origin` nor `Sec-Fetch-Site`, and are not
 * held up.
 *
 * - `Host` says by which name one was found. Rebinding needs a name, so addresses and `localhost` are safe; another name
 *   has to be one that the operator gave.
 * - `Origin` and `Sec-Fetch-Site` say which page asks. Only one's own pages, and people who typed the address, may.
 * - Without asking first, a page can send a body only under three types (Fetch, "CORS-safelisted request-header"), and
 *   under none: so a body has to say that it is what is read here.
 */
export type OwnOrigin = {
  /** Names in lower case, besides addresses and `localhost`. */
  names: ReadonlySet<string>
  /** How an operator adds a name, e.g. `--api-hosts (COPPICE_API_HOSTS)`. */
  namesOption: string
}

export type RequestHeaders = { readonly [name: string]: string | string[] | undefined }

/** For every answer of what listens here: a page of another origin may not even embed it, nor guess its type. */
export const OWN_PAGES_ONLY = { 'Cross-Origin-Resource-Policy': 'same-origin', 'X-Content-Type-Options': 'nosniff' }

/** Null for a request that may go on. */
export function judgeOrigin(headers: RequestHeaders, own: OwnOrigin): CoppiceError | null {
  const { host, origin } = headers
  // No browser leaves it out; health checks by HTTP/1.0 do.
  if (typeof host === 'string' && !isOwnHost(host, own.names))
    return new CoppiceError(
      'ForeignOrigin',
      `The host ${quoted(host)} is none of this listener's; name it in ${own.namesOption}`,
    )
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin' && site !== 'none')
    return new CoppiceError('ForeignOrigin', 'A web page of another origin asks')
  if (origin !== undefined && !isSameOrigin(String(origin), String(host)))
    return new CoppiceError('ForeignOrigin', `A web page of ${quoted(String(origin))} asks`)
  return null
}

/** Null when there is no body, or one of these types. */
export function judgeBodyType(headers: RequestHeaders, types: readonly string[]): CoppiceError | null {
  const length = headers['content-length']
  if (headers['transfer-encoding'] === undefined && (length === undefined || length === '0')) return null
  const type = String(headers['content-type'] ?? '').split(';', 1)[0] as string
  if (types.includes(type.trim().toLowerCase())) return null
  const said = type === '' ? 'says of no type' : `is ${quoted(type)}`
  return new CoppiceError('UnsupportedMediaType', `The body ${said}; send it as ${types.join(' or ')}`)
}

/** Whether a name that browsers sent as `Host` leads here by more than the word of a foreign DNS. */
export function isOwnHost(host: string, names: ReadonlySet<string>): boolean {
  const name = /^(\[[^\]]*\]|[^:]*)(:\d*)?$/.exec(host)?.[1]?.toLowerCase().replace(/\.$/, '')
  if (name === undefined) return false
  return name === 'localhost' || isAddress(name) || names.has(name)
}

/** A host whose last label is a number is an address to every browser, or invalid (WHATWG URL, "ends in a number"). */
const isAddress = (name: string): boolean => name.startsWith('[') || /^\d+\.\d+\.\d+\.\d+$/.test(name)

function isSameOrigin(origin: string, host: string): boolean {
  return URL.canParse(origin) && /^https?:/.test(origin) && new URL(origin).host === host.toLowerCase()
}

/** Of a stranger's words no more than a message needs. */
const quoted = (text: string): string => JSON.stringify(text.slice(0, 100))
