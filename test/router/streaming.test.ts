import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ask, raw } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

describe('bodies and streams', () => {
  let origin: Origin
  let router: RouterProcess

  beforeAll(async () => {
    origin = await startOrigin('a')
    router = await startRouter({ routes: table(1, app('app', [origin])), args: ['--processes', '1'] })
  })
  afterAll(async () => {
    await router?.stop()
    await origin.close()
  })
  beforeEach(() => {
    origin.seen.length = 0
  })

  it.each(['POST', 'PUT', 'PATCH', 'DELETE', 'GET', 'OPTIONS', 'PROPFIND'])(
    'passes the body of a %s, sized or chunked',
    async (method) => {
      const body = randomBytes(300_000)
      const sha256 = createHash('sha256').update(body).digest('hex')
      const sized = await ask(router, { method, body, headers: { 'content-length': String(body.length) } })
      expect(sized.json).toMatchObject({ method, bytes: body.length, sha256 })
      const chunked = await ask(router, { method, body, headers: { 'transfer-encoding': 'chunked' } })
      expect(chunked.json).toMatchObject({ method, bytes: body.length, sha256 })
    },
  )

  it.runIf(existsSync('/proc/net/tcp'))(
    'R1.2 asks by TCP keepalive after a client of a stream on which nothing moves, which may have vanished without a word',
    async () => {
      const client = connect(router.port, '127.0.0.1')
      client.write('GET /events?ms=600000 HTTP/1.1\r\nHost: app.localhost\r\n\r\n')
      await new Promise((resolve) => client.once('data', resolve))
      const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0')
      const ends = [`:${hex(router.port)}`, `:${hex(client.localPort as number)}`] as const
      // proc_net_tcp: the timer that runs for a connection (2 is that of keepalive), and for how long still, in 1/100 s.
      const timer = await until(async () => {
        const rows = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((row) => row.trim().split(/\s+/))
        const found = rows.find(([, local, remote]) => local?.endsWith(ends[0]) && remote?.endsWith(ends[1]))?.[5]
        // While something is not acknowledged yet there is another one.
        return found?.startsWith('01') ? null : found
      })
      const [kind, left] = (timer as string).split(':')
      expect(kind).toBe('02')
      expect(Number.parseInt(left as string, 16)).toBeGreaterThan(3000)
      expect(Number.parseInt(left as string, 16)).toBeLessThanOrEqual(6000)
      // With a plain end it would be waited for: it may have closed its side only.
      client.resetAndDestroy()
    },
  )

  it('passes an empty body of either kind', async () => {
    expect((await ask(router, { method: 'POST', headers: { 'content-length': '0' } })).json.bytes).toBe(0)
    expect((await ask(router, { method: 'POST', headers: { 'transfer-encoding': 'chunked' } })).json.bytes).toBe(0)
  })

  it.each([204, 304, 200])('passes HEAD and answers without a body (%i)', async (code) => {
    const { text } = await raw(
      router,
      `HEAD /status?code=${code} HTTP/1.1\r\nHost: app.localhost\r\n\r\nGET /status?code=${code} HTTP/1.1\r\nHost: app.localhost\r\n\r\nGET /last HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n`,
    )
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual([`HTTP/1.1 ${code}`, `HTTP/1.1 ${code}`, 'HTTP/1.1 200'])
  })

  it('a HEAD keeps the length of what a GET would get', async () => {
    const head = await ask(router, { method: 'HEAD', path: '/x' })
    expect(Number(head.headers['content-length'])).toBeGreaterThan(100)
    expect(head.text).toBe('')
  })

  it('passes trailers of an answer', async () => {
    const answer = await ask(router, { path: '/trailers' })
    expect(answer.trailers).toEqual({ 'x-sum': '42' })
  })

  it('passes early hints, and the answer after them', async () => {
    const { text } = await raw(router, 'GET /hints HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n')
    expect(text).toMatch(/^HTTP\/1\.1 103 .*\r\nLink: <\/style\.css>/i)
    expect(text).toContain('HTTP/1.1 200 OK')
    const old = await raw(router, 'GET /hints HTTP/1.0\r\nHost: app.localhost\r\n\r\n')
    expect(old.text).toMatch(/^HTTP\/1\.1 200/)
  })

  it('answers Expect: 100-continue when the body is wanted, and not when the request is refused', async () => {
    const wanted = await expectContinue('app.localhost')
    expect(wanted).toEqual({ continued: true, status: 200 })
    const refused = await expectContinue('nobody.localhost')
    expect(refused).toEqual({ continued: false, status: 404 })
  })

  function expectContinue(host: string): Promise<{ continued: boolean; status: number }> {
    return new Promise((resolve, reject) => {
      let continued = false
      const req = request({
        port: router.port,
        method: 'POST',
        headers: { host, expect: '100-continue', 'content-length': '5' },
      })
      req.on('continue', () => {
        continued = true
        req.end('hello')
      })
      req.on('response', (res) => {
        resolve({ continued, status: res.statusCode as number })
        req.destroy()
      })
      req.on('error', reject)
      req.flushHeaders()
    })
  }

  it('R13.2 an answer that comes before the body was read reaches the client, whose connection then ends', async () => {
    const body = 'x'.repeat(2_000_000)
    const { text, closed } = await raw(
      router,
      `POST /early HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 100_000)}`,
    )
    expect(text).toMatch(/^HTTP\/1\.1 413 /)
    expect(text).toContain('early')
    expect(text.toLowerCase()).toContain('connection: close')
    expect(closed).toBe(true)
  })

  it('R7.3 passes events as they come, without a deadline, to the instance of the session', async () => {
    const events = await new Promise<string[]>((resolve, reject) => {
      const req = request({
        port: router.port,
        path: '/events?ms=30',
        headers: { host: 'app.localhost', 'x-routing-key': 'k' },
      })
      const seen: string[] = []
      req.on('response', (res) => {
        res.on('data', (chunk) => {
          seen.push(String(chunk))
          if (seen.length === 5) {
            req.destroy()
            resolve(seen)
          }
        })
      })
      req.on('error', (error) => (error.message.includes('hang up') ? undefined : reject(error)))
      req.end()
    })
    // One by one: none was held back to go with the next.
    expect(events.map((event) => event.trim())).toEqual([0, 1, 2, 3, 4].map((n) => `data: a ${n}`))
  })

  it('an instance is told when its client goes away', async () => {
    const before = origin.sockets.size
    const socket = connect(router.port, '127.0.0.1')
    socket.write('GET /events HTTP/1.1\r\nHost: app.localhost\r\n\r\n')
    await new Promise((resolve) => socket.once('data', resolve))
    await until(async () => ((await router.admin('/status')) as { longLived: { a?: number } }).longLived.a === 1)
    socket.destroy()
    await until(
      async () => Object.keys(((await router.admin('/status')) as { inFlight: object }).inFlight).length === 0,
    )
    await until(() => origin.sockets.size <= before + 1)
  })

  it('an upload that its client gives up does not look whole to the instance, and harms no other', async () => {
    const socket = connect(router.port, '127.0.0.1')
    socket.write('POST /sip HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 1000000\r\n\r\nabc')
    await until(() => origin.seen.some((one) => one.url === '/sip'))
    socket.destroy()
    await until(
      async () => Object.keys(((await router.admin('/status')) as { inFlight: object }).inFlight).length === 0,
    )
    expect((await ask(router, { method: 'POST', body: 'x' })).json.bytes).toBe(1)
  })

  it('R13.6 an instance that does not answer in time costs 504', async () => {
    const impatient = await startRouter({
      routes: table(1, app('app', [origin])),
      args: ['--processes', '1', '--timeout', 'firstByteMs=700', '--check', 'idleMs=600000'],
    })
    try {
      for (const method of ['GET', 'POST']) {
        const answer = await ask(impatient, { method, path: '/slow?ms=5000' })
        expect([answer.status, answer.headers['x-coppice-router']]).toEqual([504, 'UpstreamTimeout'])
      }
      // Event streams have no deadline once they run.
      const events = await raw(impatient, 'GET /events?ms=300 HTTP/1.1\r\nHost: app.localhost\r\n\r\n', 2000)
      expect(events.text.match(/data: /g)?.length).toBeGreaterThan(4)
    } finally {
      await impatient.stop()
    }
  })

  const BEHIND: [name: string, bytes: string, statuses: string[]][] = [
    [
      'a WebSocket',
      'GET /ws HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      // The app's, which misses the key.
      ['200', '400'],
    ],
    ['CONNECT', 'CONNECT app.localhost:80 HTTP/1.1\r\nHost: app.localhost\r\n\r\n', ['200', '405']],
  ]
  it.each(BEHIND)(
    'R13.1 %s asked for behind a request takes nothing from its answer',
    async (_name, bytes, statuses) => {
      const { text, closed } = await raw(router, `GET /slow?ms=100 HTTP/1.1\r\nHost: app.localhost\r\n\r\n${bytes}`)
      expect([...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => match[1])).toEqual(statuses)
      expect(text).toContain('"url":"/slow?ms=100"')
      expect(closed).toBe(true)
    },
  )

  it.each(BEHIND)(
    'R13.1 %s asked for behind the last request of a connection ends no process',
    async (_name, bytes) => {
      // The first is refused, and the connection ends with its answer; the body makes the parser come to the rest later.
      const refused = 'GET / HTTP/1.1\r\n\r\n'
      const body = 'POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 2\r\n\r\nab'
      const before = await router.workers()
      for (let i = 0; i < 50; i++) {
        const { text } = await raw(router, refused + body + bytes)
        expect(text.match(/HTTP\/1\.1 \d{3}/g)).toEqual(['HTTP/1.1 400'])
      }
      expect(await router.workers()).toEqual(before)
    },
  )
})
