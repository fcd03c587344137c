import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { loopbackCookie, ROUTER_COOKIE } from '../../domain/product.ts'
import { ask, cookiesOf, raw } from './support/client.ts'
import { RawOrigin } from './support/raw-origin.ts'
import { type RouterProcess, startRouter } from './support/router-process.ts'
import { app, table } from './support/tables.ts'
import { statuses } from './support/wire.ts'

const KEY = '5b0c9f0e-3c5a-4c55-9b3e-1c1f6d1f9b11'
/** As a client asks that wants to use the connection again, with a body or without. */
const asks = (method: string, path: string, version = '1.1') => {
  const body = method === 'POST' ? 'Content-Length: 3\r\n\r\nabc' : '\r\n'
  return `${method} ${path} HTTP/${version}\r\nHost: app.localhost\r\n${body}`
}

describe('what becomes of an answer', () => {
  const origin = new RawOrigin()
  let router: RouterProcess

  beforeAll(async () => {
    await origin.listen()
    router = await startRouter({
      routes: table(1, app('app', [origin]), app('shop', [origin]), app('plain', [origin], { affinity: false })),
      args: ['--processes', '1'],
    })
  })
  afterAll(async () => {
    await router?.stop()
    await origin.close()
  })
  beforeEach(() => {
    origin.seen.length = 0
  })

  const answering = (...pieces: string[]) => {
    origin.answers = ({ target }) =>
      target.startsWith('/last') ? { pieces: ['HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast'] } : { pieces }
  }

  const CHUNKED =
    'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n'
  const ANNOUNCED: [name: string, method: string, version: string, answer: string, status: number][] = [
    ['a HEAD', 'HEAD', '1.1', 'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n', 200],
    ['a client that speaks HTTP/1.0', 'GET', '1.0', CHUNKED, 200],
    ['a body of known length', 'GET', '1.1', 'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nContent-Length: 2\r\n\r\nok', 200],
    [
      'a body of known length after a POST',
      'POST',
      '1.1',
      'HTTP/1.1 200 OK\r\nTrailer: a\r\nContent-Length: 2\r\n\r\nok',
      200,
    ],
    ['a 204', 'GET', '1.1', 'HTTP/1.1 204 No Content\r\nTrailer: X-Sum\r\n\r\n', 204],
    ['a 304', 'GET', '1.1', 'HTTP/1.1 304 Not Modified\r\nTrailer: X-Sum\r\n\r\n', 304],
  ]
  it.each(ANNOUNCED)(
    'R13.2 trailers that are announced with %s, where none can come, cost nobody the answer',
    async (...row) => {
      const [, method, version, answer, status] = row
      answering(answer)
      const { text } = await raw(
        router,
        asks(method, '/x', version) + asks('GET', '/last').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'),
      )
      expect(statuses(text)).toEqual(version === '1.0' ? [status] : [status, 200])
      expect(text.toLowerCase()).not.toContain('trailer')
      expect(origin.count('/x')).toBe(1)
    },
  )

  it('R13.2 trailers that can come are announced and come, without any that would mean something to the connection', async () => {
    answering(
      `HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nX-Coppice-Router: Forged\r\nSet-Cookie: ${ROUTER_COOKIE}=${KEY}\r\nSet-Cookie: mine=1\r\n\r\n`,
    )
    const { text } = await raw(
      router,
      asks('GET', '/x') + asks('GET', '/last').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'),
    )
    expect(text.toLowerCase()).toContain('\r\ntrailer: x-sum\r\n')
    expect(text).toContain('2\r\nok\r\n0\r\nX-Sum: 42\r\nSet-Cookie: mine=1\r\n\r\nHTTP/1.1 200 OK')
    expect(text.endsWith('last')).toBe(true)
  })

  describe.each(['GET', 'HEAD', 'POST'])('interim answers that nobody asked for, to a %s', (method) => {
    const final =
      method === 'HEAD'
        ? 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n'
        : 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
    const last = asks('GET', '/last').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')

    it.each([
      ['one 100', ['HTTP/1.1 100 Continue\r\n\r\n', final], [200, 200]],
      ['one 100 in the same piece', [`HTTP/1.1 100 Continue\r\n\r\n${final}`], [200, 200]],
      ['some of them', ['HTTP/1.1 100\r\n\r\n'.repeat(8), final], [200, 200]],
      [
        '102, 103 and one that will be invented',
        ['HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nLink: </a>\r\n\r\nHTTP/1.1 142 N\r\nX: y\r\n\r\n', final],
        [102, 103, 142, 200, 200],
      ],
    ])('%s: the answer comes behind them', async (_name, pieces, expected) => {
      answering(...pieces)
      const { text } = await raw(router, asks(method, '/x') + last)
      expect(statuses(text)).toEqual(expected)
      expect(origin.count('/x')).toBe(1)
    })

    it('without an end they are an error, and are not asked for a second time', async () => {
      answering('HTTP/1.1 100 Continue\r\n\r\n'.repeat(1000))
      const { text } = await raw(router, asks(method, '/x') + last)
      expect(statuses(text)).toEqual([502, 200])
      expect(origin.count('/x')).toBe(1)
    })

    it('R13.2 a 101 that was not asked for is an error', async () => {
      answering('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n', final)
      const { text } = await raw(router, asks(method, '/x') + last)
      expect(statuses(text)).toEqual([502, 200])
      expect(origin.count('/x')).toBe(1)
    })
  })

  it('R7.4 an app can set the routing cookie of nobody, by no way of writing it down, and keeps every cookie of its own', async () => {
    const [twin, neighbour] = [loopbackCookie('app'), loopbackCookie('shop')]
    const forged = [
      `${ROUTER_COOKIE}=${KEY}; Path=/; Secure`,
      `\t${ROUTER_COOKIE} = ${KEY}`,
      `=${ROUTER_COOKIE}=${KEY}`,
      `${twin}=${KEY}; Domain=localhost`,
      `${neighbour}=${KEY}; Path=/`,
      `=${neighbour}=${KEY}; Path=/`,
    ]
    const own = [`${twin}-cart=1`, `${loopbackCookie('nobody')}=2; Path=/x`, `${ROUTER_COOKIE}-2=3`, 'theme=4']
    const lines = [...forged, ...own].map((line, i) => `${i % 2 ? 'sEt-cOOkie' : 'Set-Cookie'}: ${line}\r\n`).join('')
    answering(`HTTP/1.1 103 Early Hints\r\n${lines}\r\nHTTP/1.1 200 OK\r\n${lines}Content-Length: 2\r\n\r\nok`)
    for (const method of ['GET', 'POST']) {
      const { text } = await raw(router, asks(method, '/x').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'))
      expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 103', 'HTTP/1.1 200'])
      expect(text).not.toContain(KEY)
      for (const line of own) expect(text.split(line)).toHaveLength(3)
    }
    // With an app that has no sessions at all nothing else is set either.
    const plain = await ask(router, { host: 'plain.localhost' })
    expect(Object.keys(cookiesOf(plain)).sort()).toEqual(
      [`${twin}-cart`, loopbackCookie('nobody'), `${ROUTER_COOKIE}-2`, 'theme'].sort(),
    )
  })

  it('R7.4 the app gets every cookie that is not the router’s by its exact name', async () => {
    answering('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    const own = `${loopbackCookie('app')}-cart=1; ${loopbackCookie('nobody')}=2; ${ROUTER_COOKIE}-2=3`
    await ask(router, { headers: { cookie: `${loopbackCookie('shop')}=${KEY}; ${own}; ${ROUTER_COOKIE}=${KEY}` } })
    expect(origin.seen[0]?.headers.filter(([name]) => name.toLowerCase() === 'cookie')).toEqual([['cookie', own]])
  })
})
