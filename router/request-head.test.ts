import { expect, it } from 'vitest'
import { DEFAULT_LIMITS } from './options.ts'
import { HeadReader, hostName, type RequestHead } from './request-head.ts'

const read = (headers: string[], url = '/', trusted = false) => {
  const request = { method: 'GET', url, httpVersion: '1.1', rawHeaders: headers }
  return { request, head: new HeadReader(DEFAULT_LIMITS).read(request, trusted) }
}
const headOf = (headers: string[], url?: string) => read(headers, url).head as RequestHead
const HOST = ['Host', 'app.localhost']

it('R13.1 what an app gets are the headers that came, in their order and spelling', () => {
  const rest = ['aCCept', '*/*', 'X-One', '1', 'x-one', '2', 'Content-Type', 'text/plain']
  expect(headOf([...HOST, ...rest])).toMatchObject({
    headers: [...HOST, ...rest],
    host: 'app.localhost',
    accept: '*/*',
  })
})

it('R13.1 headers that Connection names end here, with their values, and take nobody else along', () => {
  const named = [...HOST, 'X-One', '1', 'X-Two', '2', 'X-Three', '3', 'Connection', 'close, X-Two', 'X-Four', 'x-two']
  expect(headOf(named).headers).toEqual([...HOST, 'X-One', '1', 'X-Three', '3', 'X-Four', 'x-two'])
  expect(headOf([...HOST, 'Cookie', 'a=1', 'X-Routing-Key', 'k', 'Connection', 'host, cookie, x-routing-key'])).toEqual(
    expect.objectContaining({
      headers: ['host', 'app.localhost'],
      host: 'app.localhost',
      cookies: null,
      routingKey: null,
    }),
  )
})

it.each(['app.localhost:', 'app.localhost.', 'app.localhost.:8080'])('R13.1 the Host "%s" is that host', (host) => {
  expect(headOf(['Host', host])).toMatchObject({ host, headers: ['Host', host] })
  expect(hostName(host)).toBe('app.localhost')
})

it.each([['gzip'], ['gzip, chunked'], ['chunked, chunked'], ['']])(
  'R13.1 the transfer encoding "%s" is refused, and no body is guessed',
  (encoding) => {
    expect(read([...HOST, 'Transfer-Encoding', encoding]).head).toMatchObject({ status: 400, close: true })
  },
)

it('R13.1 chunked is understood once, in any case, and not beside a length', () => {
  expect(headOf([...HOST, 'Transfer-Encoding', 'Chunked'])).toMatchObject({ chunked: true, contentLength: null })
  for (const more of [
    ['Transfer-Encoding', 'chunked'],
    ['Content-Length', '3'],
  ])
    expect(read([...HOST, 'Transfer-Encoding', 'chunked', ...more]).head).toMatchObject({ status: 400 })
})

it.each([
  ['http://app.localhost/a?b', 'app.localhost', '/a?b'],
  ['http://APP.localhost?b', 'app.localhost:80', '/?b'],
  ['http://app.localhost:80', 'app.localhost.', '/'],
  ['https://app.localhost/', 'app.localhost:443', '/'],
  ['https://app.localhost:443/', 'app.localhost', '/'],
  ['HTTPS://app.localhost:/', 'app.localhost:443', '/'],
])('RFC 9112 3.2.2: %s at %s is the path %s', (url, host, path) => {
  const { request, head } = read(['Host', host], url)
  expect(head).not.toHaveProperty('status')
  expect(request.url).toBe(path)
})

it.each([
  ['http://other.localhost/', 'app.localhost'],
  ['http://app.localhost/', 'app.localhost:443'],
  ['https://app.localhost/', 'app.localhost:80'],
  ['ftp://app.localhost/', 'app.localhost'],
  ['app.localhost:80', 'app.localhost'],
  ['*', 'app.localhost'],
  ['', 'app.localhost'],
])('R13.1 the target %s at %s is refused', (url, host) => {
  expect(read(['Host', host], url).head).toMatchObject({ status: 400, close: true })
})

it('R13.2 who the client is says a trusted proxy alone', () => {
  const said = [
    'X-Forwarded-For',
    '1.1.1.1',
    'X-Real-IP',
    '1.1.1.1',
    'X-Forwarded-Host',
    'h',
    'X-Forwarded-Proto',
    'https',
  ]
  const nobody = { forwardedFor: null, realIp: null, forwardedHost: null, forwardedProto: null }
  expect(read([...HOST, ...said]).head).toMatchObject({ headers: HOST, ...nobody })
  expect(read([...HOST, ...said, 'X-Forwarded-For', '2.2.2.2'], '/', true).head).toMatchObject({
    headers: HOST,
    forwardedFor: '1.1.1.1, 2.2.2.2',
    realIp: '1.1.1.1',
    forwardedHost: 'h',
    forwardedProto: 'https',
  })
})
