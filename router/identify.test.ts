import { describe, expect, it } from 'vitest'
import { digestKey, mintKey } from '../domain/affinity.ts'
import { loopbackCookie, ROUTER_COOKIE } from '../domain/product.ts'
import type { Exchange } from './exchange.ts'
import { identify } from './identify.ts'
import { DEFAULT_LIMITS } from './options.ts'
import type { Peer } from './peer.ts'
import { REFUSALS } from './refusal.ts'
import { HeadReader } from './request-head.ts'
import { RouterCookies } from './router-cookie.ts'

const app = (name: string, affinity = true) => ({ name, row: { affinity } })
const ONE = app('one')
const TWO = app('two')
const PLAIN = app('plain', false)
const BY_HOST: Record<string, unknown> = { 'one.localhost': ONE, 'two.localhost': TWO, 'plain.localhost': PLAIN }
const PEER: Partial<Peer> = { ip: '127.0.0.1', loopback: true, tls: false, trusted: false, localPort: 8080 }

const KEY = mintKey(() => 7, 0, [0])
const OTHER = mintKey(() => 8, 0, [0])
const OWN = '0cc4d6dd-0000-4000-a000-000000000000'
const TWIN = loopbackCookie('one')

function ask(headers: string[], peer: Partial<Peer> = {}, method = 'GET'): Exchange {
  const chain = identify({
    heads: new HeadReader(DEFAULT_LIMITS),
    peers: { of: () => ({ ...PEER, ...peer }) as Peer } as never,
    routes: {
      forHost: (host: string) => BY_HOST[host],
      forPort: (port: number) => (port === 8101 ? ONE : undefined),
    } as never,
    cookies: new RouterCookies((name) => ['one', 'two', 'plain'].includes(name)),
    hosts: ['my-machine'],
  })
  const req = { method, url: '/', httpVersion: '1.1', rawHeaders: headers, socket: {} } as never as Exchange['req']
  let next = 0
  chain(req, { shouldKeepAlive: true } as never, () => next++)
  expect(next).toBe(1)
  return req.exchange
}
const at = (host: string, ...more: string[]) => ['Host', host, ...more]

describe('the app of a request', () => {
  it('is that of its port, else that of its host name, else none', () => {
    expect(ask(at('One.localhost:8080')).app).toBe(ONE)
    expect(ask(at('127.0.0.1:8101'), { localPort: 8101 }).app).toBe(ONE)
    expect(ask(at('nobody.localhost')).app).toBeNull()
  })

  it('R13.7 at a port of its own is not reached by a foreign name, which a page could have bound to this machine', () => {
    const atPort = { localPort: 8101 }
    for (const host of ['evil.example', 'evil.example:8101'])
      expect(ask(at(host), atPort).refusal).toBe(REFUSALS.foreignHost)
    for (const host of ['one.localhost:8101', '127.0.0.1:8101', 'localhost:8101', 'my-machine:8101'])
      expect(ask(at(host), atPort).refusal).toBeNull()
    expect(ask(at('evil.example'), { ...atPort, trusted: true }).refusal).toBeNull()
    expect(ask(at('evil.example')).refusal).toBeNull()
  })
})

describe('the session of a request', () => {
  it('R7.2 is that of the header, else of the twin, else of the cookie; the app sees none of the cookies', () => {
    const cookie = ['Cookie', `a=1; ${ROUTER_COOKIE}=${KEY}; b=2`, 'Cookie', `${TWIN}=${OTHER}`]
    expect(ask(at('one.localhost', ...cookie))).toMatchObject({ key: OTHER, minted: true, wantsTwin: false })
    const header = ['X-Routing-Key', 'order-1']
    expect(ask(at('one.localhost', ...cookie, ...header))).toMatchObject({
      key: 'order-1',
      digest: digestKey('order-1'),
      minted: false,
    })
    expect(ask(at('one.localhost', ...cookie)).head?.cookies).toEqual(['a=1; b=2'])
  })

  it('R5.1 is known of a standard app, too, which may be a scaled one when the request gets its instance', () => {
    const cookie = ['Cookie', `a=1; ${ROUTER_COOKIE}=${KEY}; b=2`]
    const head = { cookies: ['a=1; b=2'] }
    expect(ask(at('plain.localhost', ...cookie))).toMatchObject({ key: KEY, minted: true, head })
    expect(ask(at('plain.localhost', 'X-Routing-Key', 'order-1'))).toMatchObject({ key: 'order-1', minted: false })
    expect(ask(at('nobody.localhost', ...cookie))).toMatchObject({ app: null, head })
  })

  it('R7.4 wants a twin on plain http on loopback only, and takes none elsewhere', () => {
    const cookie = ['Cookie', `${ROUTER_COOKIE}=${KEY}`]
    expect(ask(at('one.localhost', ...cookie))).toMatchObject({ key: KEY, wantsTwin: true })
    expect(ask(at('one.localhost', ...cookie), { tls: true })).toMatchObject({ key: KEY, wantsTwin: false })
    expect(ask(at('one.localhost', 'Cookie', `${TWIN}=${KEY}`), { loopback: false })).toMatchObject({ key: null })
  })

  it('R7.2 a key that a client made up is not taken for one of the router', () => {
    expect(ask(at('one.localhost', 'Cookie', `${ROUTER_COOKIE}=${OWN}`))).toMatchObject({ key: OWN, minted: false })
  })
})

it('R1.2 what may be repeated has no body and an idempotent method', () => {
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE'])
    expect(ask(at('one.localhost'), {}, method).idempotent).toBe(true)
  for (const method of ['POST', 'PATCH', 'LOCK']) expect(ask(at('one.localhost'), {}, method).idempotent).toBe(false)
  for (const body of [
    ['Content-Length', '3'],
    ['Transfer-Encoding', 'chunked'],
  ])
    expect(ask(at('one.localhost', ...body), {}, 'PUT')).toMatchObject({ idempotent: false, hasBody: true })
  expect(ask(at('one.localhost', 'Content-Length', '0'), {}, 'PUT')).toMatchObject({ idempotent: true, hasBody: false })
})

it('R13.1 a malformed request is refused, and belongs to no app', () => {
  expect(ask([])).toMatchObject({ app: null, head: null, refusal: { status: 400 } })
})
