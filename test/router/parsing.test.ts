import { connect, type Socket } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ask, raw } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

const HOST = 'Host: app.localhost\r\n'

describe('R13.1 what is not clearly one request is refused, closed and never forwarded', () => {
  let origin: Origin
  let router: RouterProcess

  beforeAll(async () => {
    origin = await startOrigin('a')
    router = await startRouter({
      routes: table(1, app('app', [origin], { affinity: false })),
      args: [
        '--processes',
        '1',
        '--timeout',
        'requestHeadMs=1000',
        '--limit',
        'maxBodyBytes=100000',
        '--timeout',
        'requestBodyIdleMs=1000',
      ],
    })
  })
  afterAll(async () => {
    await router?.stop()
    await origin.close()
  })
  beforeEach(async () => {
    // With an idle connection at hand, what should not be forwarded would be forwarded at once.
    await ask(router)
    origin.seen.length = 0
  })

  const REFUSED: [name: string, status: number, bytes: string][] = [
    [
      'Content-Length and Transfer-Encoding',
      400,
      `POST / HTTP/1.1\r\n${HOST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      'Transfer-Encoding and Content-Length',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`,
    ],
    [
      'two different Content-Lengths',
      400,
      `POST / HTTP/1.1\r\n${HOST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`,
    ],
    ['two equal Content-Lengths', 400, `POST / HTTP/1.1\r\n${HOST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`],
    ['a list as Content-Length', 400, `POST / HTTP/1.1\r\n${HOST}Content-Length: 3, 3\r\n\r\nabc`],
    ['a signed Content-Length', 400, `POST / HTTP/1.1\r\n${HOST}Content-Length: +3\r\n\r\nabc`],
    ['a hexadecimal Content-Length', 400, `POST / HTTP/1.1\r\n${HOST}Content-Length: 0x3\r\n\r\nabc`],
    ['an empty Content-Length', 400, `POST / HTTP/1.1\r\n${HOST}Content-Length: \r\n\r\n`],
    ['no Host', 400, 'GET / HTTP/1.1\r\n\r\n'],
    ['two Hosts', 400, `GET / HTTP/1.1\r\n${HOST}Host: app.localhost\r\n\r\n`],
    ['an empty Host', 400, 'GET / HTTP/1.1\r\nHost: \r\n\r\n'],
    ['a Host with a path', 400, 'GET / HTTP/1.1\r\nHost: app.localhost/x\r\n\r\n'],
    ['a Host with a user', 400, 'GET / HTTP/1.1\r\nHost: evil@app.localhost\r\n\r\n'],
    ['a Host list', 400, 'GET / HTTP/1.1\r\nHost: app.localhost, other\r\n\r\n'],
    ['an absolute form with another host', 400, `GET http://other.localhost/ HTTP/1.1\r\n${HOST}\r\n`],
    ['an absolute form with another port', 400, 'GET http://app.localhost:81/ HTTP/1.1\r\nHost: app.localhost\r\n\r\n'],
    ['a Host with two trailing dots', 404, 'GET / HTTP/1.1\r\nHost: app.localhost..\r\nConnection: close\r\n\r\n'],
    ['an absolute form with a user', 400, `GET http://app.localhost@evil/ HTTP/1.1\r\n${HOST}\r\n`],
    ['an absolute form of another scheme', 400, `GET ftp://app.localhost/ HTTP/1.1\r\n${HOST}\r\n`],
    ['an authority form', 400, `GET app.localhost:80 HTTP/1.1\r\n${HOST}\r\n`],
    ['an asterisk without OPTIONS', 400, `GET * HTTP/1.1\r\n${HOST}\r\n`],
    ['a fragment', 400, `GET /a#b HTTP/1.1\r\n${HOST}\r\n`],
    [
      'Transfer-Encoding: gzip, chunked',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      'Transfer-Encoding: chunked, chunked',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`,
    ],
    ['Transfer-Encoding: identity', 400, `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: identity\r\n\r\n`],
    ['Transfer-Encoding: xchunked', 400, `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    [
      'two Transfer-Encodings',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      'a Transfer-Encoding behind a space',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      'a Transfer-Encoding behind a tab',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`,
    ],
    ['chunked on HTTP/1.0', 400, `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['HTTP/0.9', 400, 'GET /\r\n\r\n'],
    ['HTTP/0.9 with headers', 400, `GET / HTTP/0.9\r\n${HOST}\r\n`],
    ['HTTP/0.1', 400, `GET / HTTP/0.1\r\n${HOST}\r\n`],
    ['HTTP/1.10', 400, `GET / HTTP/1.10\r\n${HOST}\r\n`],
    ['HTTP/1.', 400, `GET / HTTP/1.\r\n${HOST}\r\n`],
    ['http/1.1', 400, `GET / http/1.1\r\n${HOST}\r\n`],
    ['HTTP/3.1', 400, `GET / HTTP/3.1\r\n${HOST}\r\n`],
    [
      'Transfer-Encoding: gzip, chunked on HTTP/1.2',
      400,
      `POST / HTTP/1.2\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n`,
    ],
    ['no Host on HTTP/1.3', 400, 'GET / HTTP/1.3\r\n\r\n'],
    ['chunked on HTTP/2.0', 400, `POST / HTTP/2.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['HTTP/2.0', 400, `GET / HTTP/2.0\r\n${HOST}\r\n`],
    ['the preface of HTTP/2', 400, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['bare LF between headers', 400, `GET / HTTP/1.1\n${HOST.replace('\r', '')}\n`],
    ['one bare LF', 400, `GET / HTTP/1.1\r\nX: 1\n${HOST}\r\n`],
    ['a bare LF before the body', 400, `GET / HTTP/1.1\r\n${HOST}\n`],
    ['a bare CR in a value', 400, `GET / HTTP/1.1\r\n${HOST}X: a\rb\r\n\r\n`],
    ['a folded header', 400, `GET / HTTP/1.1\r\n${HOST}X: a\r\n b\r\n\r\n`],
    ['a header folded in front', 400, `GET / HTTP/1.1\r\n X: a\r\n${HOST}\r\n`],
    ['a NUL in a value', 400, `GET / HTTP/1.1\r\n${HOST}X: a\0b\r\n\r\n`],
    ['a DEL in a value', 400, `GET / HTTP/1.1\r\n${HOST}X: a\x7fb\r\n\r\n`],
    ['a space in a name', 400, `GET / HTTP/1.1\r\n${HOST}X y: a\r\n\r\n`],
    ['no name', 400, `GET / HTTP/1.1\r\n${HOST}: a\r\n\r\n`],
    ['no colon', 400, `GET / HTTP/1.1\r\n${HOST}nonsense\r\n\r\n`],
    [
      'a chunk size with a sign',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n`,
    ],
    [
      'a chunk size with 0x',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n`,
    ],
    [
      'a chunk size that overflows',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n`,
    ],
    [
      'a chunk that is longer than it says',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n`,
    ],
    [
      'a chunk size that ends in a bare LF',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n`,
    ],
    [
      'a chunk extension that ends in a bare LF',
      400,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n`,
    ],
    ['a space behind the target', 400, `GET /a b HTTP/1.1\r\n${HOST}\r\n`],
    ['an unknown method with spaces', 400, `G ET / HTTP/1.1\r\n${HOST}\r\n`],
    ['CONNECT', 405, `CONNECT app.localhost:80 HTTP/1.1\r\n${HOST}\r\n`],
    ['a URI of 9 kB', 414, `GET /${'a'.repeat(9000)} HTTP/1.1\r\n${HOST}\r\n`],
    ['a URI of 20 kB', 414, `GET /${'a'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`],
    ['201 headers', 431, `GET / HTTP/1.1\r\n${HOST}${'a: b\r\n'.repeat(200)}\r\n`],
    ['1,200 headers', 431, `GET / HTTP/1.1\r\n${HOST}${'a: b\r\n'.repeat(1200)}\r\n`],
    ['17 kB of headers', 431, `GET / HTTP/1.1\r\n${HOST}${`x: ${'v'.repeat(1000)}\r\n`.repeat(17)}\r\n`],
    ['a header of 40 kB', 431, `GET / HTTP/1.1\r\n${HOST}x: ${'v'.repeat(40_000)}\r\n\r\n`],
    ['a body over the limit', 413, `POST / HTTP/1.1\r\n${HOST}Content-Length: 100001\r\n\r\n`],
  ]

  it.each(REFUSED)('R13.1 %s: %i', async (_name, status, bytes) => {
    // What a smuggler would hide behind it.
    const { text, closed } = await raw(router, `${bytes}GET /smuggled HTTP/1.1\r\n${HOST}\r\n`)
    expect(text.split('\r\n')[0]).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect(text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1)
    expect(text.toLowerCase()).toContain('connection: close')
    expect(closed).toBe(true)
    expect(origin.seen.filter((one) => one.url.includes('smuggled'))).toEqual([])
  })

  it('R13.1 a chunked body over the limit is cut off with 413', async () => {
    const chunk = `8000\r\n${'x'.repeat(0x8000)}\r\n`
    const { text, closed } = await raw(
      router,
      `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(5)}0\r\n\r\n`,
    )
    expect(text).toMatch(/^HTTP\/1\.1 413 /)
    expect(closed).toBe(true)
  })

  it('R13.1 a head that trickles in is answered 408 at its deadline, a body that stops arriving too', async () => {
    const at = performance.now()
    const head = await raw(router, `GET / HTTP/1.1\r\n${HOST}X: `, 5000)
    expect(head.text).toMatch(/^HTTP\/1\.1 408 /)
    expect(head.closed).toBe(true)
    expect(performance.now() - at).toBeLessThan(2500)
    const body = await raw(router, `POST / HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nabc`, 5000)
    expect(body.text).toMatch(/^HTTP\/1\.1 408 /)
    expect(body.closed).toBe(true)
  })

  it.each([
    ['', false],
    ['TLS ', true],
  ])(
    'R1.2 a %sconnection on which nothing was asked yet is idle: its first request may come late, and it ends without a word',
    async (_, tls) => {
      const timeouts = ['requestHeadMs=500', 'clientKeepAliveMs=4000'].flatMap((one) => ['--timeout', one])
      const patient = await startRouter({
        routes: table(1, app('app', [origin], { affinity: false })),
        args: ['--processes', '1', ...timeouts, ...(tls ? ['--tls-self-signed', 'app.localhost'] : [])],
      })
      const open = (done: () => void) => {
        const where = { port: patient.port, host: '127.0.0.1', rejectUnauthorized: false }
        return tls ? tlsConnect(where, done) : connect(where, done)
      }
      const opened = async () => {
        const socket = await new Promise<Socket>((resolve) => {
          const one = open(() => resolve(one))
        })
        const text = new Promise<string>((resolve) => {
          let all = ''
          socket.on('data', (chunk) => {
            all += chunk
          })
          socket.on('close', () => resolve(all))
        })
        return { socket, text }
      }
      try {
        const [late, trickling, unused] = await Promise.all([opened(), opened(), opened()])
        // Opened after those, and given up: the deadline for a head has passed for them, too.
        const begun = await opened()
        begun.socket.write(`GET / HTTP/1.1\r\n${HOST}X: `)
        expect(await begun.text).toMatch(/^HTTP\/1\.1 408 /)
        late.socket.write(`GET / HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`)
        expect(await late.text).toMatch(/^HTTP\/1\.1 200 /)
        trickling.socket.write('GET / HTTP/1.1\r\n')
        expect(await trickling.text).toMatch(/^HTTP\/1\.1 408 /)
        expect(await unused.text).toBe('')
      } finally {
        await patient.stop()
      }
    },
  )

  const ACCEPTED: [name: string, bytes: string, url: string][] = [
    ['an absolute form with the same host', `GET http://app.localhost/p?q=1 HTTP/1.1\r\n${HOST}`, '/p?q=1'],
    ['an absolute form without a path', `GET http://APP.localhost HTTP/1.1\r\n${HOST}`, '/'],
    [
      'a target with .. and escapes, byte for byte',
      `GET /a/../b/%2e%2e//c?d=%00&e HTTP/1.1\r\n${HOST}`,
      '/a/../b/%2e%2e//c?d=%00&e',
    ],
    ['HTTP/1.0', `GET /old HTTP/1.0\r\n${HOST}`, '/old'],
    ['an unusual method', `PROPFIND /dav HTTP/1.1\r\n${HOST}`, '/dav'],
    ['a Host with a port', 'GET /port HTTP/1.1\r\nHost: app.localhost:8080\r\n', '/port'],
    ['a Host with a trailing dot and upper case', 'GET /dot HTTP/1.1\r\nHost: APP.localhost.\r\n', '/dot'],
    ['a Host with an empty port', 'GET /empty HTTP/1.1\r\nHost: app.localhost:\r\n', '/empty'],
    ['a Host with a trailing dot and a port', 'GET /both HTTP/1.1\r\nHost: app.localhost.:8080\r\n', '/both'],
    ['a Host with a trailing dot and an empty port', 'GET /all HTTP/1.1\r\nHost: app.localhost.:\r\n', '/all'],
    [
      'an absolute form that spells the same host otherwise',
      'GET http://app.localhost:80/same HTTP/1.1\r\nHost: App.localhost.:\r\n',
      '/same',
    ],
    ['HTTP/1.2', `GET /next HTTP/1.2\r\n${HOST}`, '/next'],
    ['HTTP/1.9', `GET /last HTTP/1.9\r\n${HOST}`, '/last'],
  ]
  it.each(ACCEPTED)('forwards %s', async (_name, bytes, url) => {
    const { text } = await raw(router, `${bytes}Connection: close\r\n\r\n`)
    expect(text).toMatch(/^HTTP\/1\.[01] 200 /)
    expect(origin.seen.map((one) => one.url)).toEqual([url])
  })

  it('R13.1 chunk extensions and trailers of a request are read and not passed on', async () => {
    const { text } = await raw(
      router,
      `POST /t HTTP/1.1\r\n${HOST}Connection: close\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\nX-T: v\r\n\r\n`,
    )
    expect(text).toMatch(/^HTTP\/1\.1 200 /)
    expect(text).toContain('"bytes":3')
    expect(text).not.toContain('X-T')
  })

  it('R13.1 an error behind an answer that is under way writes nothing into it, and is answered behind it', async () => {
    const { text, closed } = await raw(
      router,
      `GET /download?bytes=3000000 HTTP/1.1\r\n${HOST}\r\nNONSENSE\x01\r\n\r\n`,
    )
    expect(text).toMatch(/^HTTP\/1\.1 200 [\s\S]*?\r\n\r\nd{3000000}HTTP\/1\.1 400 /)
    expect(text.match(/HTTP\/1\.1 \d/g)).toHaveLength(2)
    expect(closed).toBe(true)
  })

  it('takes HTTP/1.2 for 1.1 in everything: the connection stays, chunks are read, 100 Continue is given', async () => {
    const chunks = `POST /chunks HTTP/1.2\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`
    const { text } = await raw(
      router,
      `${chunks}POST /e HTTP/1.5\r\n${HOST}Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab`,
    )
    expect(text.match(/HTTP\/1\.1 \d{3}/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 100', 'HTTP/1.1 200'])
    expect(text.match(/"bytes":\d/g)).toEqual(['"bytes":3', '"bytes":2'])
  })

  it('R13.1 the deadline of a head holds also where later versions are read', async () => {
    const at = performance.now()
    const { text } = await raw(router, 'GET / HTTP/1.2\r\nX: ', 5000)
    expect(text).toMatch(/^HTTP\/1\.1 408 /)
    expect(performance.now() - at).toBeGreaterThan(900)
  })

  it('sends no Content-Length where there can be no content, and that of a 304 only if the app has said one', async () => {
    const head = async (query: string) =>
      (await raw(router, `GET /bare?${query} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`)).text
    expect(await head('code=204&length=0')).toMatch(/^HTTP\/1\.1 204 (?!.*content-length|.*transfer-encoding)/is)
    expect(await head('code=204')).toMatch(/^HTTP\/1\.1 204 (?!.*content-length|.*transfer-encoding)/is)
    expect(await head('code=304')).toMatch(/^HTTP\/1\.1 304 (?!.*content-length|.*transfer-encoding)/is)
    expect(await head('code=304&length=1234')).toMatch(/^HTTP\/1\.1 304 .*content-length: 1234\r\n/is)
    expect(await head('code=205&length=0')).toMatch(/^HTTP\/1\.1 205 .*content-length: 0\r\n/is)
  })

  it('answers OPTIONS * itself', async () => {
    const { text } = await raw(router, `OPTIONS * HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`)
    expect(text).toMatch(/^HTTP\/1\.1 200 /)
    expect(origin.seen).toEqual([])
  })

  it('shows a page to people and JSON to programs, both marked as the router’s own', async () => {
    const page = await ask(router, { host: 'nobody.localhost', headers: { accept: 'text/html,*/*' } })
    expect([page.status, page.headers['content-type'], page.headers['x-coppice-router']]).toEqual([
      404,
      'text/html; charset=utf-8',
      'NoSuchApp',
    ])
    expect(page.text).toContain('There is no app at this address.')
    const json = await ask(router, { host: 'nobody.localhost' })
    expect(JSON.parse(json.text)).toMatchObject({ error_code: 'NoSuchApp' })
  })
})
