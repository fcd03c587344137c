import { expect, it } from 'vitest'
import { mintKey } from '../domain/affinity.ts'
import { ROUTER_COOKIE } from '../domain/product.ts'
import type { Exchange } from './exchange.ts'
import { ResponseHeads } from './response-head.ts'
import { RouterCookies } from './router-cookie.ts'

const KEY = mintKey(() => 7, 0, [0])
const exchange = {
  req: { method: 'GET', httpVersion: '1.1' },
  res: { useChunkedEncodingByDefault: true },
  peer: { loopback: false, tls: false },
  app: { name: 'app', row: { affinity: true } },
  head: null,
  wantsTwin: false,
  minted: false,
  key: null,
} as unknown as Exchange

const heads = new ResponseHeads(new RouterCookies((name) => name === 'app'))
const read = (received: string[], newKey: string | null = null, status = 200, servedBy: string | null = null) =>
  heads.read(status, received, exchange, newKey, servedBy).headers

it('R13.1 an answer keeps its headers, but those of one connection and those that Connection names', () => {
  const received = [
    'X-One',
    '1',
    'Connection',
    'close, x-two',
    'X-Two',
    '2',
    'X-Three',
    '3',
    'Keep-Alive',
    '5',
    'ETag',
    'x-two',
  ]
  expect(read(received)).toEqual(['X-One', '1', 'X-Three', '3', 'ETag', 'x-two'])
})

it('R7.4 Cache-Control is the app’s own, but for an answer that gives a key, which no shared cache may keep', () => {
  const received = ['Cache-Control', 'public, max-age=60', 'cache-control', 's-maxage=9']
  expect(read(received)).toEqual(received)
  const headers = read(received, KEY)
  expect(headers.slice(0, 2)).toEqual(['cache-control', 'private, max-age=60'])
  expect(headers.slice(2)).toEqual(['set-cookie', expect.stringContaining(`${ROUTER_COOKIE}=${KEY};`)])
  expect(read([], KEY).slice(0, 2)).toEqual(['cache-control', 'private'])
})

it('R7.4 an app sets its own cookies, and none that is the router’s', () => {
  const own = ['Set-Cookie', 'session=1', 'set-cookie', `${ROUTER_COOKIE}-2=1`]
  expect(read([...own, 'Set-Cookie', `${ROUTER_COOKIE}=${KEY}`])).toEqual(own)
  expect(
    heads.readAside(['Set-Cookie', `${ROUTER_COOKIE}=${KEY}`, 'Content-Length', '3', 'Link', '</a>'], false),
  ).toEqual(['Link', '</a>'])
})

it('RFC 9110 8.6: a length is passed on where there may be a body', () => {
  const length = ['Content-Length', '3']
  expect(read(length)).toEqual(length)
  expect(read(length, null, 304)).toEqual(length)
  for (const status of [101, 204]) expect(read(length, null, status)).toEqual([])
})

it('who has answered says the router where it was asked to, and nobody beside it', () => {
  const received = ['X-Served-By', 'a cache of the app']
  expect(read(received)).toEqual(received)
  expect(read(received, null, 200, 'i1; slot=1').map((one) => one.toLowerCase())).toEqual(['x-served-by', 'i1; slot=1'])
  expect(heads.readAside(received, false)).toEqual(received)
  expect(heads.readAside(received, true)).toEqual([])
})

it('R7.4 the twin of a key goes out where there are sessions, and in no answer of a standard app', () => {
  const inSession = { ...exchange, wantsTwin: true, minted: true, key: 'a-key' } as unknown as Exchange
  const standard = { ...inSession, app: { name: 'app', row: { affinity: false } } } as unknown as Exchange
  const cookies = (of: Exchange) =>
    new ResponseHeads(new RouterCookies(() => true))
      .read(200, [], of, null, null)
      .headers.filter((text) => /a-key/.test(text))
  expect([cookies(inSession).length, cookies(standard).length]).toEqual([1, 0])
})
