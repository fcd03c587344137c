import { keyFromCookie } from '../domain/affinity.ts'
import { PRODUCT, ROUTER_COOKIE } from '../domain/product.ts'

const TWIN_PREFIX = `${PRODUCT}-router-`

/** What the Cookie headers of a request say about its session, and what of them the app may see (R7.4). */
export type RouterCookies = {
  /** The first well-formed key in the cookie of R7.1. */
  key: string | null
  /** The first well-formed key in the loopback twin of this app. */
  twin: string | null
  /** The Cookie headers without any router cookie; empty ones are left out. */
  rest: string[]
}

/** @param twinName name of this app's twin, or null where twins are not accepted (DESIGN D13) */
export function readRouterCookies(cookies: string[], twinName: string | null): RouterCookies {
  const found: RouterCookies = { key: null, twin: null, rest: cookies }
  if (!cookies.some((value) => value.includes(ROUTER_COOKIE) || value.includes(TWIN_PREFIX))) return found
  found.rest = []
  for (const cookie of cookies) {
    const kept: string[] = []
    for (const pair of cookie.split(';')) {
      const equals = pair.indexOf('=')
      const name = (equals === -1 ? pair : pair.slice(0, equals)).trim()
      if (name === ROUTER_COOKIE) found.key ??= keyFromCookie(pair.slice(equals + 1).trim())
      else if (name === twinName) found.twin ??= keyFromCookie(pair.slice(equals + 1).trim())
      // Twins of other apps come along on loopback, where browsers tell hosts apart but not ports.
      else if (!name.startsWith(TWIN_PREFIX)) kept.push(pair)
    }
    const rest = kept.join(';').trim()
    if (rest !== '') found.rest.push(rest)
  }
  return found
}
