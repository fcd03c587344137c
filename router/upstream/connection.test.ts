import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Connection } from './connection.ts'
import type { BodyReader, UpstreamBody, UpstreamRequest } from './upstream.ts'

const soon = { timeout: 5_000 }

let server: Server
let instance: Socket
let received: string
let connection: Connection
const owner = { onIdle: vi.fn((_: Connection) => undefined), onGone: vi.fn((_: Connection) => undefined) }
beforeEach(async () => {
  received = ''
  server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  vi.clearAllMocks()
  const accepted = once(server, 'connection')
  connection = new Connection('127.0.0.1', (server.address() as AddressInfo).port, 60_000, owner)
  instance = (await accepted)[0] as Socket
  instance.on('error', () => undefined)
  await vi.waitFor(() => expect(owner.onIdle).toHaveBeenCalledOnce(), soon)
})
afterEach(async () => {
  connection.abort()
  instance.destroy()
  await new Promise((resolve) => server.close(resolve))
})
const listens = () => instance.on('data', (chunk) => (received += chunk.toString('latin1')))

/** What became of a request, in order. */
function send(more: Partial<UpstreamRequest> = {}) {
  const said: string[] = []
  connection.send(
    { method: 'GET', path: '/x', headers: ['Host', 'app'], body: null, chunked: false, upgrade: false, ...more },
    {
      onSent: () => said.push('sent'),
      onInterim: (status) => said.push(`interim ${status}`),
      onHead: (status) => said.push(`head ${status}`),
      onData: (chunk) => said.push(`data ${chunk}`),
      onEnd: () => said.push('end'),
      onUpgrade: () => said.push('upgrade'),
      onError: (error) => said.push(`error ${(error as NodeJS.ErrnoException).code}`),
    },
  )
  return said
}

/** A body whose pieces a test gives. */
function body() {
  let reader: BodyReader | null = null
  const calls: string[] = []
  const upstream: UpstreamBody = {
    start: (one) => {
      reader = one
    },
    pause: () => calls.push('pause'),
    resume: () => calls.push('resume'),
    stop: () => calls.push('stop'),
  }
  return { upstream, calls, reader: () => reader as unknown as BodyReader }
}
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const HEAD = 'GET /x HTTP/1.1\r\nHost: app\r\n\r\n'

describe('a connection to an instance', () => {
  it('carries one request after the other, each as it was given', async () => {
    listens()
    for (const reused of [true, true]) {
      const said = send()
      expect(connection.reused).toBe(reused)
      await vi.waitFor(() => expect(received).toBe(HEAD), soon)
      expect(connection.waitingSince).toBeGreaterThan(0)
      instance.write(OK)
      await vi.waitFor(() => expect(said).toEqual(['sent', 'head 200', 'data ok', 'end']), soon)
      expect(connection.waitingSince).toBe(0)
      received = ''
    }
    expect(owner.onIdle).toHaveBeenCalledTimes(3)
  })

  it('R13.2 ends when an answer comes for which nobody has asked, which would be another client’s', async () => {
    instance.write(OK)
    await vi.waitFor(() => expect(owner.onGone).toHaveBeenCalledOnce(), soon)
  })

  it('sends a body in chunks to its end, also an empty one', async () => {
    listens()
    const { upstream, reader } = body()
    send({ body: upstream, chunked: true })
    reader().onBody(Buffer.from('hello'))
    await vi.waitFor(() => expect(received).toBe(`${HEAD}5\r\nhello\r\n`), soon)
    reader().onBodyEnd()
    await vi.waitFor(() => expect(received).toBe(`${HEAD}5\r\nhello\r\n0\r\n\r\n`), soon)
    expect(connection.waitingSince).toBeGreaterThan(0)
    received = ''
    instance.write(OK)
    await vi.waitFor(() => expect(owner.onIdle).toHaveBeenCalledTimes(2), soon)
    const empty = body()
    send({ body: empty.upstream, chunked: true })
    empty.reader().onBodyEnd()
    await vi.waitFor(() => expect(received).toBe(`${HEAD}0\r\n\r\n`), soon)
  })

  it('waits for an instance that takes no more of a body, and for the client again when it has taken it', async () => {
    const { upstream, calls, reader } = body()
    send({ body: upstream })
    expect(connection.waitingSince).toBe(0)
    // More than the kernel keeps for both ends.
    reader().onBody(Buffer.alloc(64 << 20))
    expect(calls).toEqual(['pause'])
    expect(connection.waitingSince).toBeGreaterThan(0)
    instance.resume()
    await vi.waitFor(() => expect(calls).toEqual(['pause', 'resume']), soon)
    expect(connection.waitingSince).toBe(0)
  })

  it('that is lost lets go of the body, which nobody takes any more, and says so once', async () => {
    const { upstream, calls, reader } = body()
    const said = send({ body: upstream })
    reader().onBody(Buffer.from('a'))
    instance.destroy()
    await vi.waitFor(() => expect(said.at(-1)).toMatch(/^error (?:UPSTREAM_CLOSED|ECONNRESET|EPIPE)$/), soon)
    expect(calls).toContain('stop')
    expect(said).toHaveLength(2)
    expect(owner.onGone).toHaveBeenCalledOnce()
  })

  it('is not used again when a part of its request has not left, which would be read as the next one', async () => {
    const { upstream, calls, reader } = body()
    const said = send({ body: upstream })
    reader().onBody(Buffer.from('a'))
    instance.write(OK)
    await vi.waitFor(() => expect(said.at(-1)).toBe('end'), soon)
    expect(calls).toContain('stop')
    expect(owner.onGone).toHaveBeenCalledOnce()
    expect(owner.onIdle).toHaveBeenCalledOnce()
  })
})
