import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { digestKey, pickSlot } from '../../domain/affinity.ts'
import { ask, raw } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

type Talk = {
  ws: WebSocket
  hello: { hello: string; headers: string[] }
  messages: Buffer[]
  closed: Promise<{ code: number; at: number }>
  cookies: string[]
}

describe('websockets', () => {
  let origins: [Origin, Origin]
  let router: RouterProcess

  beforeAll(async () => {
    origins = [await startOrigin('a'), await startOrigin('b')]
    router = await startRouter({
      routes: table(1, app('app', origins)),
      args: ['--processes', '2', '--timeout', 'drainSpreadMs=600'],
    })
  })
  afterAll(async () => {
    await router?.stop()
    await Promise.all(origins.map((origin) => origin.close()))
  })

  function open(path = '/', headers: Record<string, string> = {}): Promise<Talk> {
    return new Promise((resolve, reject) => {
      const ws = new WebSocket(`ws://127.0.0.1:${router.port}${path}`, {
        headers: { host: 'app.localhost', ...headers },
      })
      const messages: Buffer[] = []
      let cookies: string[] = []
      const closed = new Promise<{ code: number; at: number }>((done) =>
        ws.on('close', (code) => done({ code, at: performance.now() })),
      )
      ws.on('upgrade', (res) => {
        cookies = res.headers['set-cookie'] ?? []
      })
      ws.once('message', (data) => {
        ws.on('message', (more) => messages.push(more as Buffer))
        resolve({ ws, hello: JSON.parse(String(data)), messages, closed, cookies })
      })
      ws.on('error', reject)
    })
  }

  it('R7.3 go to the instance of their session, get the cookie, and carry messages of any size both ways', async () => {
    for (let i = 0; i < 10; i++) {
      const talk = await open('/', { 'x-routing-key': `k${i}` })
      expect(talk.hello.hello).toBe(origins[pickSlot(digestKey(`k${i}`), [0, 1]) as 0 | 1].name)
      talk.ws.close()
      await talk.closed
    }
    const talk = await open()
    expect(talk.cookies.join()).toContain('__Host-databricks-app-router=')
    const key = /__Host-databricks-app-router=([^;]+)/.exec(talk.cookies.join())?.[1]
    const page = await ask(router, { headers: { cookie: `__Host-databricks-app-router=${key}` } })
    expect(page.json.instance).toBe(talk.hello.hello)
    const payloads = [0, 1, 125, 126, 65_535, 65_536, 3_000_000].map((size) => Buffer.alloc(size, 'p'))
    for (const payload of payloads) talk.ws.send(payload)
    await until(() => talk.messages.length === payloads.length)
    expect(talk.messages.map((message, i) => message.equals(payloads[i] as Buffer))).toEqual(payloads.map(() => true))
    talk.ws.close(4001)
    expect((await talk.closed).code).toBe(4001)
  })

  it('R13.2 tells the instance who the client is', async () => {
    const talk = await open('/', { 'x-forwarded-for': '6.6.6.6' })
    const { headers } = talk.hello
    expect(headers[headers.indexOf('x-forwarded-for') + 1]).toBe('127.0.0.1')
    talk.ws.close()
  })

  it('passes on a refusal of the instance as what it is', async () => {
    const { text } = await raw(
      router,
      'GET /refuse HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    )
    expect(text).toMatch(/^HTTP\/1\.1 403 /)
    expect(text).toContain('no')
  })

  it('answers an upgrade for no app like any request, and other upgrades as if they were none', async () => {
    const upgrade = (host: string, to: string) =>
      raw(router, `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade, close\r\nUpgrade: ${to}\r\n\r\n`)
    expect((await upgrade('nobody.localhost', 'websocket')).text).toMatch(/^HTTP\/1\.1 404 /)
    expect((await upgrade('app.localhost', 'h2c')).text).toMatch(/^HTTP\/1\.1 200 /)
  })

  it('R6.2 those of a draining instance live until its deadline, then close with 1012 between two frames, spread over time', async () => {
    const talks = await Promise.all(
      Array.from({ length: 12 }, (_, i) => open(i % 2 ? '/flood?size=70000' : '/', { 'x-routing-key': keyOf(0, i) })),
    )
    const other = await open('/', { 'x-routing-key': keyOf(1, 0) })
    const rows = app('app', origins, { drainTimeoutMs: 2000 })
    for (const endpoint of rows.endpoints) if (endpoint.slot === 0) endpoint.state = 'draining'
    const at = performance.now()
    await router.setRoutes(table(2, rows))
    // Still alive, as a conversation.
    talks[0]?.ws.send('still there?')
    await until(() => talks[0]?.messages.some((message) => String(message) === 'still there?'))
    const ends = await Promise.all(talks.map((talk) => talk.closed))
    // ws reports 1006 for a stream that broke in the middle of a frame.
    expect(ends.map((end) => end.code)).toEqual(new Array(12).fill(1012))
    const times = ends.map((end) => end.at - at).sort((x, y) => x - y)
    expect(times[0]).toBeGreaterThan(1200)
    expect(times[11]).toBeLessThan(4_500)
    expect((times[11] as number) - (times[0] as number)).toBeGreaterThan(100)
    expect(other.ws.readyState).toBe(WebSocket.OPEN)
    other.ws.close()
    await router.setRoutes(table(3, app('app', origins)))
  })

  /** A key that belongs to a slot. */
  function keyOf(slot: number, n: number): string {
    for (let i = n * 1000; ; i++) if (pickSlot(digestKey(`w${i}`), [0, 1]) === slot) return `w${i}`
  }

  it('one that stops reading holds back its sender instead of filling the router', async () => {
    const talk = await open('/flood?size=200000', { 'x-routing-key': keyOf(1, 5) })
    const socket = (talk.ws as unknown as { _socket: import('node:net').Socket })._socket
    socket.pause()
    const workers = await router.workers()
    const memory = async () => {
      const { readFile } = await import('node:fs/promises')
      const pages = await Promise.all(
        workers.map(async (pid) => Number((await readFile(`/proc/${pid}/statm`, 'utf8')).split(' ')[1])),
      )
      return (Math.max(...pages) * 4096) / 1e6
    }
    const before = await memory()
    await new Promise((resolve) => setTimeout(resolve, 2500))
    expect((await memory()) - before).toBeLessThan(40)
    talk.ws.terminate()
  })

  it('both sides learn when the other is gone', async () => {
    const talk = await open('/', { 'x-routing-key': keyOf(0, 9) })
    await until(
      async () => ((await router.admin('/status')) as { longLived: Record<string, number> }).longLived.a === 1,
    )
    talk.ws.terminate()
    await until(
      async () => ((await router.admin('/status')) as { longLived: Record<string, number> }).longLived.a === undefined,
    )
  })
})
