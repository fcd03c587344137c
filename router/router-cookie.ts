import { keyFromCookie } from '../domain/affinity.ts'
import { PRODUCT, ROUTER_COOKIE } from '../domain/product.ts'
import { sliceTrimmed } from './blanks.ts'

const TWIN_PREFIX = `${PRODUCT}-router-`

/** What the Cookie headers of a request say about its session, and what of them the app may see (R7.4). */
export type ReadCookies = {
  /** The first well-formed key in the cookie of R7.1. */
  key: string | null
  /** The first well-formed key in the loopback twin of this app. */
  twin: string | null
  /** The Cookie headers without any router cookie; empty ones are left out. */
  rest: string[]
}

/**
 * The cookies that are the router's, by their exact names: that of R7.1, and the twin of each app in the table (D13).
 * Twins count on every connection and for every app, because browsers send a cookie of 127.0.0.1 to all its ports. Any
 * other name belongs to the apps, however it begins.
 */
export class RouterCookies {
  private readonly isApp: (name: string) => boolean

  /** @param isApp whether an app of this name is in the table */
  constructor(isApp: (name: string) => boolean) {
    this.isApp = isApp
  }

  /** @param twinName name of this app's twin, or null where twins are not accepted (DESIGN D13) */
  read(cookies: string[], twinName: string | null): ReadCookies {
    const found: ReadCookies = { key: null, twin: null, rest: cookies }
    if (!cookies.some(mayName)) return found
    found.rest = []
    for (const cookie of cookies) {
      const kept: string[] = []
      for (const pair of cookie.split(';')) {
        const name = nameOf(pair)
        if (name === ROUTER_COOKIE) found.key ??= keyOf(pair)
        else if (name === twinName) found.twin ??= keyOf(pair)
        else if (!this.has(name)) kept.push(pair)
      }
      const rest = sliceTrimmed(kept.join(';'))
      if (rest !== '') found.rest.push(rest)
    }
    return found
  }

  /**
   * Whether a browser that keeps this Set-Cookie would send back what `read` takes for the router's: an app must not
   * choose the instance of other people's sessions, in its own name or in that of its neighbour on loopback.
   */
  setBy(line: string): boolean {
    if (!mayName(line)) return false
    // Up to the first semicolon (RFC 6265bis 5.6); some clients pass over those that stand before everything else.
    const pair = line.replace(/^[;\t ]+/, '').split(';', 1)[0] as string
    const name = nameOf(pair)
    // A cookie without a name comes back as its value alone: `=a=b` as `a=b`.
    return this.has(name === '' ? nameOf(pair.slice(pair.indexOf('=') + 1)) : name)
  }

  private has(name: string): boolean {
    return name === ROUTER_COOKIE || (name.startsWith(TWIN_PREFIX) && this.isApp(name.slice(TWIN_PREFIX.length)))
  }
}

/** Most cookies cannot be the router's, which shows at once. */
const mayName = (text: string): boolean => text.includes(ROUTER_COOKIE) || text.includes(TWIN_PREFIX)

function nameOf(pair: string): string {
  const equals = pair.indexOf('=')
  return sliceTrimmed(pair, 0, equals === -1 ? pair.length : equals)
}

const keyOf = (pair: string): string | null => keyFromCookie(sliceTrimmed(pair, pair.indexOf('=') + 1))
