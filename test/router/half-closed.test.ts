import { connect, type Socket } from 'node:net'
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { ask } from './support/client.ts'
import { oneApp } from './support/one-app.ts'
import { startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'
import { get, HOST, statuses, urls } from './support/wire.ts'

describe('a client that closes its side of the connection behind its request', () => {
  const only = oneApp()

  /** Sends all of it and the end of the stream; everything that came until the router closed too. */
  function halfClosed(
    bytes: string,
    socket: Socket = connect({ port: only.router.port, host: '127.0.0.1', allowHalfOpen: true }),
  ) {
    return new Promise<string>((resolve, reject) => {
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1')
      })
      socket.on('error', reject)
      socket.on('end', () => resolve(text))
      socket.end(bytes, 'latin1')
    })
  }

  it('gets its answer, which says that the connection ends', async () => {
    for (const path of ['/', '/slow?ms=300', '/download?bytes=3000000']) {
      const text = await halfClosed(get(path))
      expect(statuses(text)).toEqual([200])
    }
    expect((await halfClosed(get('/slow?ms=300'))).toLowerCase()).toContain('connection: close')
    expect(statuses(await halfClosed('GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n'))).toEqual([404])
    // An old client closes that way.
    expect(await halfClosed(`GET /slow?ms=100 HTTP/1.0\r\n${HOST}\r\n`)).toContain(' 200 OK')
  })

  it('gets it behind a body too, whatever its framing', async () => {
    const body = 'x'.repeat(300_000)
    const sized = await halfClosed(`POST /slow?ms=200 HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n\r\n${body}`)
    expect(sized).toContain('"bytes":300000')
    const chunked = `POST /slow?ms=200 HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`
    expect(await halfClosed(chunked)).toContain('"bytes":5')
  })

  it('gets all answers of several requests, in order', async () => {
    const paths = ['/slow?ms=200', '/b', '/slow?ms=50', '/d']
    expect(urls(await halfClosed(paths.map((path) => get(path)).join('')))).toEqual(paths)
    const many = Array.from({ length: 5000 }, (_, i) => `/${i}`)
    expect(urls(await halfClosed(many.map((path) => get(path)).join('')))).toEqual(many)
  })

  it('gets 400 for what it did not send to its end, and the app nothing that looks whole', async () => {
    for (const cut of [`GET / HTTP/1.1\r\n${HOST}`, `POST /sip HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nabc`]) {
      expect(statuses(await halfClosed(cut))).toEqual([400])
      expect(statuses(await halfClosed(get('/slow?ms=100') + cut))).toEqual([200, 400])
    }
    await until(async () => (await only.inFlight()) === 0)
  })

  it('gets it over TLS', async () => {
    const secure = await startRouter({
      routes: table(1, app('app', [only.origin], { affinity: false })),
      args: ['--processes', '1', '--tls-self-signed', 'app.localhost'],
    })
    try {
      // `allowHalfOpen` is one of net's options, which tls takes too.
      const options = { port: secure.port, host: '127.0.0.1', rejectUnauthorized: false, allowHalfOpen: true }
      const socket = tlsConnect(options as ConnectionOptions)
      expect(urls(await halfClosed(get('/slow?ms=300') + get('/b'), socket))).toEqual(['/slow?ms=300', '/b'])
    } finally {
      await secure.stop()
    }
  })

  it('and reads on has an event stream as long as it likes; gone, it frees the app with the next events', async () => {
    const socket = connect({ port: only.router.port, host: '127.0.0.1', allowHalfOpen: true })
    let events = 0
    socket.on('data', (chunk) => {
      events += chunk.toString().split('data:').length - 1
    })
    socket.end(get('/events?ms=20'))
    await until(() => events > 20)
    socket.destroy()
    await until(async () => (await only.inFlight()) === 0)
  })

  it('and never reads again does not keep an app for ever', async () => {
    const impatient = await startRouter({
      routes: table(1, app('app', [only.origin], { affinity: false })),
      args: ['--processes', '1', '--timeout', 'clientHalfClosedMs=500'],
    })
    const inFlight = async () =>
      ((await impatient.admin('/status')) as { inFlight: Record<string, number> }).inFlight.a ?? 0
    try {
      const socket = connect({ port: impatient.port, host: '127.0.0.1', allowHalfOpen: true })
      const closed = new Promise((resolve) => socket.on('close', resolve))
      socket.on('error', () => undefined)
      socket.end(get('/slow?ms=60000'))
      await until(async () => (await inFlight()) === 1)
      socket.resume()
      await closed
      await until(async () => (await inFlight()) === 0)
      // One whose client has not closed its side waits as long as it takes.
      expect((await ask(impatient, { path: '/slow?ms=1500' })).status).toBe(200)
    } finally {
      await impatient.stop()
    }
  })

  it('and one that resets it is noticed at once, however long the answer takes', async () => {
    const socket = connect(only.router.port, '127.0.0.1')
    socket.write(get('/slow?ms=60000'))
    await until(async () => (await only.inFlight()) === 1)
    socket.resetAndDestroy()
    await until(async () => (await only.inFlight()) === 0)
  })
})
