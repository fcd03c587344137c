import { randomBytes } from 'node:crypto'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { ask, raw } from './support/client.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

const HOST = 'Host: app.localhost\r\n'

/** An instance whose every connection is in the hands of the test, from the first byte. */
describe('bodies on their way to an instance', () => {
  let server: Server
  let router: RouterProcess
  let serve: (socket: Socket, number: number) => void = () => undefined
  const sockets: Socket[] = []
  let connections = 0

  beforeAll(async () => {
    server = createServer({ noDelay: true }, (socket) => {
      sockets.push(socket)
      socket.on('error', () => undefined)
      serve(socket, ++connections)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
    router = await startRouter({
      routes: table(1, app('app', [{ name: 'a', address }], { affinity: false, silenceMs: 600_000 })),
      args: ['--processes', '1', '--timeout', 'firstByteMs=800'],
    })
  })
  afterAll(async () => {
    await router?.stop()
    for (const socket of sockets) socket.destroy()
    await new Promise<void>((resolve) => server.close(() => resolve()))
  })
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy()
  })

  /** Answers when the whole of what `isWhole` accepts has come; keeps the connection. */
  const answering = (isWhole: (text: string) => boolean, log: string[] = []) => {
    serve = (socket, number) => {
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1')
        if (!isWhole(text)) return
        log.push(text)
        text = ''
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${String(number).length}\r\n\r\n${number}`)
      })
    }
    return log
  }

  it('R13.1 a small one leaves with its head, whatever its framing, byte for byte', async () => {
    const body = randomBytes(1000).toString('latin1')
    const seen = answering((text) =>
      /\r\ncontent-length: /i.test(text) ? text.endsWith(body) : text.endsWith('0\r\n\r\n'),
    )
    await raw(router, `POST /s HTTP/1.1\r\n${HOST}Connection: close\r\nContent-Length: 1000\r\n\r\n${body}`)
    const inChunks = `HTTP/1.1\r\n${HOST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n`
    await raw(router, `POST /c ${inChunks}3E8;x=y\r\n${body}\r\n0\r\nX-T: 1\r\n\r\n`)
    await raw(router, `POST /e ${inChunks}0\r\n\r\n`)
    expect(seen).toHaveLength(3)
    const [sized = '', chunked = '', empty = ''] = seen
    const behindHead = (text: string) => text.slice(text.indexOf('\r\n\r\n') + 4)
    expect(behindHead(sized)).toBe(body)
    expect(sized).toMatch(/\r\ncontent-length: 1000\r\n/)
    expect(sized).not.toMatch(/transfer-encoding/i)
    expect(behindHead(chunked)).toBe(`3e8\r\n${body}\r\n0\r\n\r\n`)
    expect(chunked).toMatch(/\r\ntransfer-encoding: chunked\r\n/)
    expect(chunked).not.toMatch(/content-length|X-T/i)
    expect(behindHead(empty)).toBe('0\r\n\r\n')
  })

  it('R12.2 each has a connection of its own, which no other request is sent on, and requests without a body share one', async () => {
    answering((text) => text.endsWith('abc') || text.startsWith('GET'))
    const posts: string[] = []
    const gets = new Set<string>()
    for (let i = 0; i < 3; i++) {
      posts.push((await ask(router, { method: 'POST', body: 'abc', headers: { 'content-length': '3' } })).text)
      gets.add((await ask(router)).text)
    }
    expect(new Set(posts).size).toBe(3)
    expect(gets.size).toBe(1)
    expect(posts.some((number) => gets.has(number))).toBe(false)
  })

  it('R13.2 the connection of one that did not leave whole is used for nothing else, however its answer ended', async () => {
    const seen: string[][] = []
    serve = (socket, number) => {
      const texts: string[] = []
      seen[number] = texts
      socket.on('data', (chunk) => {
        const text = chunk.toString('latin1')
        texts.push(text)
        // At the first piece, as an app does that looks at the head only, and keeps the connection.
        if (/^[A-Z]+ \//.test(text)) socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok`)
      })
    }
    const client = connect(router.port, '127.0.0.1')
    let text = ''
    client.on('data', (chunk) => {
      text += chunk.toString('latin1')
    })
    client.write(`POST /half HTTP/1.1\r\n${HOST}Content-Length: 40\r\n\r\nGET /hidden HTTP/1.1\r\n`)
    await until(() => text.endsWith('ok'))
    for (let i = 0; i < 5; i++) expect((await ask(router, { path: '/other' })).text).toBe('ok')
    client.destroy()
    const half = seen.findIndex((texts) => texts?.some((one) => one.startsWith('POST /half')))
    expect(seen[half]?.join('')).not.toContain('/other')
    expect(text.toLowerCase()).toContain('connection: close')
  })

  it('R13.6 the deadline for the first byte counts from the end of the body, and while the instance takes no more of it', async () => {
    answering((text) => text.endsWith('end'))
    const client = connect(router.port, '127.0.0.1')
    let text = ''
    client.on('data', (chunk) => {
      text += chunk.toString('latin1')
    })
    client.write(`POST /long HTTP/1.1\r\n${HOST}Content-Length: 9\r\n\r\n`)
    for (const piece of ['abc', 'def', 'end']) {
      // Longer than firstByteMs in all: this is the client's time.
      await new Promise((resolve) => setTimeout(resolve, 600))
      client.write(piece)
    }
    await until(() => text.includes('200 OK'))
    client.destroy()

    serve = (socket) => socket.pause()
    const big = Buffer.alloc(30_000_000, 'x')
    const stuck = await raw(
      router,
      Buffer.concat([Buffer.from(`POST /stuck HTTP/1.1\r\n${HOST}Content-Length: ${big.length}\r\n\r\n`), big]),
      15_000,
    )
    expect(stuck.text).toMatch(/^HTTP\/1\.1 504 /)
  })

  it('R13.2 an answer that comes in the middle of a large body reaches the client, also from an app that closes at once', async () => {
    serve = (socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 5\r\n\r\nearly')
        // Without reading on, as most do: what is on its way makes the kernel reset the connection.
        socket.destroySoon()
      })
    }
    const body = Buffer.alloc(3_000_000, 'x')
    const request = Buffer.concat([
      Buffer.from(`POST /early HTTP/1.1\r\n${HOST}Content-Length: ${body.length}\r\n\r\n`),
      body,
      Buffer.from(`GET /next HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`),
    ])
    for (let i = 0; i < 50; i++) {
      const { text, closed } = await raw(router, request, 10_000)
      // Where the body had come whole by then, the connection goes on, and the next one has its turn.
      expect(text.match(/HTTP\/1\.1 \d{3}/g)?.join()).toMatch(/^HTTP\/1\.1 413(?:,HTTP\/1\.1 413)?$/)
      expect(closed).toBe(true)
    }
  })

  it('an answer that is streamed while its request still comes is passed on as it comes', async () => {
    serve = (socket) => {
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'))
      socket.on('data', (chunk) => {
        const text = chunk.toString('latin1').split('\r\n\r\n').at(-1) ?? ''
        if (text === 'ping') socket.write('4\r\npong\r\n')
        if (text === 'done') socket.write('0\r\n\r\n')
      })
    }
    const client = connect(router.port, '127.0.0.1')
    let text = ''
    client.on('data', (chunk) => {
      text += chunk.toString('latin1')
    })
    client.write(`POST /talk HTTP/1.1\r\n${HOST}Content-Length: 12\r\n\r\n`)
    for (const n of [1, 2]) {
      client.write('ping')
      await until(() => text.split('pong').length === n + 1)
    }
    client.write('done')
    await until(() => text.endsWith('0\r\n\r\n'))
    client.destroy()
  })
})
