import { describe, expect, it } from 'vitest'
import { loopbackCookie, ROUTER_COOKIE } from '../domain/product.ts'
import { RouterCookies } from './router-cookie.ts'

const KEY = '5b0c9f0e-3c5a-4c55-9b3e-1c1f6d1f9b11'
const TWIN = loopbackCookie('shop')

describe('which cookies are the router’s', () => {
  const cookies = new RouterCookies((name) => name === 'shop' || name === 'x-mine')

  it.each([
    `${ROUTER_COOKIE}=${KEY}; Path=/; Secure`,
    `${ROUTER_COOKIE}=`,
    `  ${ROUTER_COOKIE}\t =${KEY}`,
    `${TWIN}=${KEY}`,
    `${TWIN}=${KEY};Domain=localhost`,
    `${TWIN}="${KEY}"`,
    `\t${TWIN} = ${KEY}`,
    // Cookies without a name come back as their value, which then is a name and a value.
    `=${TWIN}=${KEY}; Path=/`,
    ` = ${TWIN} = ${KEY}`,
    `=${ROUTER_COOKIE}=${KEY}`,
    TWIN,
    // Browsers drop these, some other clients do not.
    `;${TWIN}=${KEY}`,
    ` ; ;${ROUTER_COOKIE}=${KEY}`,
  ])('R7.4 an app may not set %j', (line) => {
    expect(cookies.setBy(line)).toBe(true)
  })

  it.each([
    'theme=dark',
    `${ROUTER_COOKIE}2=${KEY}`,
    `x${ROUTER_COOKIE}=${KEY}`,
    // Names are compared with case (RFC 6265bis 5.7), and `read` does not take this for its own either.
    `${ROUTER_COOKIE.toLowerCase()}=${KEY}`,
    `${TWIN.toUpperCase()}=${KEY}`,
    `${TWIN}-cart=1`,
    `${TWIN}.a=1`,
    `${loopbackCookie('')}=1`,
    // There is no such app.
    `${loopbackCookie('blog')}=${KEY}`,
    `"${TWIN}"=${KEY}`,
    `theme=${TWIN}`,
    `theme=${ROUTER_COOKIE}=${KEY}`,
    `theme=dark; ${TWIN}=${KEY}`,
    // U+00A0 is no blank to a browser.
    `\u00a0${TWIN}=${KEY}`,
    `${TWIN}\u00a0=${KEY}`,
    `==${TWIN}=${KEY}`,
  ])('an app may set %j, and gets it back', (line) => {
    expect(cookies.setBy(line)).toBe(false)
    // As a browser would send it.
    const [pair = ''] = line.split(';')
    const back = pair.replace(/^[\t ]*=/, '').trim()
    if (!pair.includes('\u00a0')) expect(cookies.read([back], null).rest).toEqual([back])
  })

  it('R7.4 takes its own out of a request and leaves the rest as it came, byte for byte', () => {
    const mine = `${TWIN}-cart=1; \u00a0${TWIN}=2;${loopbackCookie('blog')}=3;  b="; c`
    expect(cookies.read([mine], TWIN)).toEqual({ key: null, twin: null, rest: [mine] })
    const mixed = `a=1; ${ROUTER_COOKIE}=${KEY}; ${loopbackCookie('x-mine')}=${KEY}; ${mine}; ${TWIN} = ${KEY.toUpperCase()} `
    expect(cookies.read([mixed, `${TWIN}=${KEY}`, ROUTER_COOKIE], TWIN)).toEqual({
      key: KEY,
      twin: KEY,
      rest: [`a=1; ${mine}`],
    })
  })

  it('what it takes for an answer’s is what it takes for a request’s', () => {
    for (const name of [ROUTER_COOKIE, TWIN, loopbackCookie('blog'), `${TWIN}x`, 'a']) {
      for (const pair of [`${name}=${KEY}`, `${name} =${KEY}`, `${name}`, `${name}==`]) {
        expect([pair, cookies.setBy(pair)]).toEqual([pair, cookies.read([pair], null).rest.length === 0])
      }
    }
  })
})
