import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ask, raw } from './support/client.ts'
import { residentMb } from './support/memory.ts'
import { oneApp } from './support/one-app.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'
import { get, head, statuses, urls, WEBSOCKET } from './support/wire.ts'

describe('requests that a client sends before it has its answers', () => {
  const only = oneApp()

  describe('by the thousand', () => {
    let counting: Server
    let most = 0
    let now = 0
    let flooded: RouterProcess

    beforeAll(async () => {
      counting = createServer((req, res) => {
        now++
        most = Math.max(most, now)
        // One after the other also when nobody waits for anything: not within this turn.
        setImmediate(() => {
          now--
          res.end(`<${req.url}>`)
        })
      })
      await new Promise<void>((resolve) => counting.listen(0, '127.0.0.1', resolve))
      const address = `127.0.0.1:${(counting.address() as AddressInfo).port}`
      flooded = await startRouter({
        routes: table(1, app('app', [{ name: 'counting', address }], { affinity: false }), app('other', [only.origin])),
        args: ['--processes', '1', '--check', 'idleMs=600000'],
      })
    })
    afterAll(async () => {
      await flooded?.stop()
      counting.closeAllConnections()
      await new Promise<void>((resolve) => counting.close(() => resolve()))
    })

    it('R1.6 one connection with 20,000 of them has never more than one at the app, gets all its answers in order, fills no memory, and delays nobody', {
      timeout: 240_000,
    }, async () => {
      const N = 20_000
      const [pid] = await flooded.workers()
      await ask(flooded)
      const before = await residentMb(pid as number)
      let highest = before
      let others = 0
      let tail = ''
      let next = 0
      const socket = connect(flooded.port, '127.0.0.1')
      socket.write(Array.from({ length: N }, (_, i) => get(`/${i}`)).join(''))
      const flood = new Promise<void>((resolve, reject) => {
        socket.on('data', (chunk) => {
          tail += chunk.toString('latin1')
          for (;;) {
            const found = tail.indexOf(`</${next}>`)
            if (found === -1) break
            // Nothing of another request stands before it.
            expect(tail.slice(0, found)).not.toContain('</')
            tail = tail.slice(found + `</${next}>`.length)
            next++
          }
          if (next === N) resolve()
        })
        socket.on('error', reject)
        socket.on('close', () => reject(new Error(`closed after ${next} answers`)))
      })
      let on = true
      const meanwhile = (async () => {
        while (on) {
          expect((await ask(flooded, { host: 'other.localhost' })).status).toBe(200)
          others++
          highest = Math.max(highest, await residentMb(pid as number))
        }
      })()
      await flood
      on = false
      await meanwhile
      socket.destroy()
      expect(most).toBe(1)
      expect(await flooded.workers()).toEqual([pid])
      expect(others).toBeGreaterThan(50)
      // 34 to 42 MB were measured, 228 where all are begun at once.
      expect(highest - before).toBeLessThan(80)
    })
  })

  it('D10 a GET behind a POST begins when the POST is answered, and a POST behind a GET too', async () => {
    const log: string[] = []
    const recorder = createServer((req, res) => {
      log.push(`begin ${req.url}`)
      req.resume().on('end', () =>
        setTimeout(() => {
          log.push(`end ${req.url}`)
          res.end('ok')
        }, 50),
      )
    })
    await new Promise<void>((resolve) => recorder.listen(0, '127.0.0.1', resolve))
    const address = `127.0.0.1:${(recorder.address() as AddressInfo).port}`
    const alone = await startRouter({
      routes: table(1, app('app', [{ name: 'recorder', address }], { affinity: false })),
      args: ['--processes', '1', '--check', 'idleMs=600000'],
    })
    try {
      log.length = 0
      const post = (path: string) => `${head('POST', path, 'Content-Length: 3\r\n')}abc`
      const { text } = await raw(
        alone,
        post('/1') + get('/2') + post('/3') + post('/4') + get('/5', 'Connection: close\r\n'),
      )
      expect(statuses(text)).toEqual([200, 200, 200, 200, 200])
      expect(log.filter((line) => !line.endsWith(' /'))).toEqual(
        [1, 2, 3, 4, 5].flatMap((n) => [`begin /${n}`, `end /${n}`]),
      )
    } finally {
      await alone.stop()
      recorder.closeAllConnections()
      recorder.close()
    }
  })

  it('bodies of any size among them arrive whole, each with its own request', async () => {
    const sizes = [0, 1, 70_000, 3, 1_500_000, 200_000]
    const bytes = sizes
      .map((size, i) =>
        i % 2 === 0
          ? `${head('POST', `/${i}`, `Content-Length: ${size}\r\n`)}${'x'.repeat(size)}`
          : `${head('PUT', `/${i}`, 'Transfer-Encoding: chunked\r\n')}${size.toString(16)}\r\n${'x'.repeat(size)}\r\n0\r\n\r\n`,
      )
      .join('')
    const { text } = await raw(only.router, bytes + get('/last', 'Connection: close\r\n'), 20_000)
    expect([...text.matchAll(/"bytes":(\d+)/g)].map((match) => Number(match[1]))).toEqual([...sizes, 0])
    expect(urls(text)).toEqual([...sizes.map((_, i) => `/${i}`), '/last'])
  })

  it('an answer that its client takes slowly is whole before the next one begins', async () => {
    const size = 8_000_000
    const socket = connect(only.router.port, '127.0.0.1')
    socket.write(get(`/download?bytes=${size}`) + get('/b') + get('/c', 'Connection: close\r\n'))
    let text = ''
    let received = 0
    socket.on('data', (chunk) => {
      received += chunk.length
      text = (text + chunk.toString('latin1')).slice(-4000)
      if (received < size) {
        socket.pause()
        setTimeout(() => socket.resume(), 1)
      }
    })
    await until(() => received > 500_000)
    expect(only.origin.seen.map((one) => one.url)).toEqual([`/download?bytes=${size}`])
    await new Promise((resolve) => socket.on('close', resolve))
    expect(urls(text)).toEqual(['/b', '/c'])
  })

  it('R13.1 one that is refused is answered in its turn, and what stands behind it is not carried out', async () => {
    for (const refused of [
      'GET /x HTTP/1.1\r\n\r\n',
      'GET /x HTTP/1.1\r\nHost: app.localhost\r\nNONSENSE\x01\r\n\r\n',
      `${head('POST', '/x', 'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n')}0\r\n\r\n`,
    ]) {
      only.origin.seen.length = 0
      const { text, closed } = await raw(only.router, get('/slow?ms=100') + get('/b') + refused + get('/behind'))
      expect(statuses(text)).toEqual([200, 200, 400])
      expect(text.toLowerCase().match(/connection: close/g)).toHaveLength(1)
      expect(closed).toBe(true)
      expect(only.origin.seen.map((one) => one.url)).toEqual(['/slow?ms=100', '/b'])
    }
  })

  it('R13.1 one that does not arrive in time is answered 408 in its turn', async () => {
    const strict = await startRouter({
      routes: table(1, app('app', [only.origin], { affinity: false })),
      args: ['--processes', '1', '--timeout', 'requestHeadMs=300'],
    })
    try {
      const { text, closed } = await raw(strict, `${get('/slow?ms=1500')}GET /late HTTP/1.1\r\nHost: app.loc`, 6000)
      expect([statuses(text), closed]).toEqual([[200, 408], true])
      // One that waits, though, has arrived.
      const { text: both } = await raw(strict, get('/slow?ms=1500') + get('/b', 'Connection: close\r\n'), 6000)
      expect(statuses(both)).toEqual([200, 200])
    } finally {
      await strict.stop()
    }
  })

  it('an answer that ends the connection reaches a client that has sent megabytes behind it, and none of those is carried out', async () => {
    const behind = get('/behind').repeat(100_000)
    for (const first of [get('/a', 'Connection: close\r\n'), 'GET /x HTTP/1.1\r\n\r\n']) {
      only.origin.seen.length = 0
      const errors: Error[] = []
      const text = await new Promise<string>((resolve) => {
        const socket = connect(only.router.port, '127.0.0.1')
        let all = ''
        socket.on('data', (chunk) => {
          all += chunk
        })
        socket.on('error', (error) => errors.push(error))
        socket.on('close', () => resolve(all))
        socket.write(get('/slow?ms=200') + first + behind)
      })
      expect(statuses(text)).toHaveLength(2)
      expect(only.origin.seen.filter((one) => one.url === '/behind')).toEqual([])
    }
  })

  it('R7.3 a WebSocket asked for behind other requests is opened in its turn', async () => {
    for (const ahead of [
      get('/slow?ms=100'),
      get('/download?bytes=3000000'),
      get('/a') + get('/b') + get('/slow?ms=50'),
    ]) {
      const { text } = await raw(only.router, ahead + get('/ws', WEBSOCKET), 1500)
      expect(statuses(text).at(-1)).toBe(101)
      expect(new Set(statuses(text).slice(0, -1))).toEqual(new Set([200]))
      // The first frame of the app came through behind it.
      expect(text.slice(text.lastIndexOf('HTTP/1.1 101'))).toContain('"hello":"a"')
    }
  })

  it('another upgrade behind a request is treated as if it had not been asked for, in its turn', async () => {
    const upgrade = 'Connection: Upgrade\r\nUpgrade: h2c\r\n'
    const { text, closed } = await raw(only.router, get('/slow?ms=100') + get('/b', upgrade) + get('/behind'))
    expect([urls(text), closed]).toEqual([['/slow?ms=100', '/b'], true])
    const body = `${head('POST', '/b', `${upgrade}Content-Length: 3\r\n`)}abc`
    const refused = await raw(only.router, get('/slow?ms=100') + body)
    expect([statuses(refused.text), refused.closed]).toEqual([[200, 400], true])
    expect(only.origin.seen.map((one) => one.url)).not.toContain('/behind')
  })

  it('R13.1 CONNECT behind an answer that its client takes slowly is refused when that is whole', async () => {
    const size = 5_000_000
    const socket = connect(only.router.port, '127.0.0.1')
    socket.write(`${get(`/download?bytes=${size}`)}CONNECT app.localhost:80 HTTP/1.1\r\nHost: app.localhost\r\n\r\n`)
    socket.pause()
    await until(async () => (await only.inFlight()) === 1)
    await new Promise((resolve) => setTimeout(resolve, 200))
    let received = 0
    let text = ''
    socket.on('data', (chunk) => {
      received += chunk.length
      text = (text + chunk.toString('latin1')).slice(-2000)
    })
    socket.resume()
    await new Promise((resolve) => socket.on('close', resolve))
    expect(received).toBeGreaterThan(size)
    expect(statuses(text)).toEqual([405])
  })

  it('a client that goes away frees the app at once, and what it had still waiting is never carried out', async () => {
    const socket: Socket = connect(only.router.port, '127.0.0.1')
    socket.write(get('/slow?ms=20000') + get('/never').repeat(20))
    // The count alone may still be that of the test before.
    await until(async () => only.origin.seen.length === 1 && (await only.inFlight()) === 1)
    socket.resetAndDestroy()
    await until(async () => (await only.inFlight()) === 0)
    expect((await ask(only.router)).status).toBe(200)
    expect(only.origin.seen.map((one) => one.url)).toEqual(['/slow?ms=20000', '/'])
  })

  it('a request with Expect: 100-continue behind others is asked for its body in its turn', async () => {
    const socket = connect(only.router.port, '127.0.0.1')
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (text.includes('100 Continue') && !text.includes('"bytes":3')) socket.write('abc')
    })
    const more = 'Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n'
    socket.write(get('/slow?ms=100') + head('POST', '/b', more))
    await new Promise((resolve) => socket.on('close', resolve))
    expect(statuses(text)).toEqual([200, 100, 200])
    expect(text).toContain('"bytes":3')
  })

  it('over TLS it is the same', async () => {
    const secure = await startRouter({
      routes: table(1, app('app', [only.origin], { affinity: false })),
      args: ['--processes', '1', '--tls-self-signed', 'app.localhost'],
    })
    try {
      const text = await new Promise<string>((resolve, reject) => {
        const socket = tlsConnect({ port: secure.port, host: '127.0.0.1', rejectUnauthorized: false })
        let all = ''
        socket.on('data', (chunk) => {
          all += chunk
        })
        socket.on('error', reject)
        socket.on('close', () => resolve(all))
        socket.write(get('/slow?ms=100') + get('/b') + get('/c').repeat(2000) + get('/d', 'Connection: close\r\n'))
      })
      expect(urls(text)).toEqual(['/slow?ms=100', '/b', ...new Array(2000).fill('/c'), '/d'])
    } finally {
      await secure.stop()
    }
  })
})
