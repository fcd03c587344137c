import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ask, raw, sent } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

const FORGED = {
  'x-forwarded-for': '6.6.6.6',
  'x-forwarded-host': 'evil.example',
  'x-forwarded-proto': 'https',
  'x-forwarded-user': 'admin',
  'x-forwarded-email': 'admin@example.com',
  'x-forwarded-access-token': 'stolen',
  x_forwarded_user: 'admin',
  'X-Real-IP': '6.6.6.6',
  'x-request-id': 'mine',
  forwarded: 'for=6.6.6.6',
}

describe('headers on their way through', () => {
  let origins: [Origin, Origin]
  let router: RouterProcess
  let behindProxy: RouterProcess

  beforeAll(async () => {
    origins = [await startOrigin('a'), await startOrigin('b')]
    const routes = table(1, app('app', [origins[0]]), app('other', [origins[1]]))
    router = await startRouter({ routes, args: ['--processes', '1', '--served-by'] })
    behindProxy = await startRouter({ routes, args: ['--processes', '1', '--trusted-proxies', '127.0.0.0/8'] })
  })
  afterAll(async () => {
    await router?.stop()
    await behindProxy?.stop()
    await Promise.all(origins.map((origin) => origin.close()))
  })

  it('R13.2 replaces what a stranger says about who the client is', async () => {
    const answer = await ask(router, { headers: FORGED })
    expect(sent(answer, 'x-forwarded-for')).toEqual(['127.0.0.1'])
    expect(sent(answer, 'x-forwarded-host')).toEqual(['app.localhost'])
    expect(sent(answer, 'x-forwarded-proto')).toEqual(['http'])
    expect(sent(answer, 'x-real-ip')).toEqual(['127.0.0.1'])
    expect(sent(answer, 'x-request-id')[0]).toMatch(/^[0-9a-f-]{36}$/)
    for (const name of [
      'x-forwarded-user',
      'x-forwarded-email',
      'x-forwarded-access-token',
      'x_forwarded_user',
      'forwarded',
    ]) {
      expect(sent(answer, name)).toEqual([])
    }
  })

  it('R13.2 a request whose client was gone before it was read reaches no app in the name of nobody', async () => {
    const processes = [router.child.pid as number, ...(await router.workers())]
    for (const pid of processes) process.kill(pid, 'SIGSTOP')
    for (let i = 0; i < 20; i++) {
      const socket = connect(router.port, '127.0.0.1')
      await once(socket, 'connect')
      await new Promise((resolve) => socket.write('GET /gone HTTP/1.1\r\nHost: app.localhost\r\n\r\n', resolve))
      socket.resetAndDestroy()
      await once(socket, 'close')
    }
    for (const pid of processes) process.kill(pid, 'SIGCONT')
    // One after the other, each by a process that has read what came before.
    for (let i = 0; i < 20; i++) expect((await ask(router)).status).toBe(200)
    expect(origins.flatMap(({ seen }) => seen).filter(({ url }) => url === '/gone')).toEqual([])
  })

  it('R13.2 believes a trusted proxy, and adds it to the chain', async () => {
    const answer = await ask(behindProxy, { headers: FORGED })
    expect(sent(answer, 'x-forwarded-for')).toEqual(['6.6.6.6, 127.0.0.1'])
    expect(sent(answer, 'x-forwarded-host')).toEqual(['evil.example'])
    expect(sent(answer, 'x-forwarded-proto')).toEqual(['https'])
    expect(sent(answer, 'x-forwarded-user')).toEqual(['admin'])
    expect(sent(answer, 'x-real-ip')).toEqual(['6.6.6.6'])
    expect(sent(answer, 'x-request-id')).toEqual(['mine'])
    // https at the proxy: the real cookie alone.
    expect(answer.headers['set-cookie']).toHaveLength(1)
  })

  it('R13.2 strips hop-by-hop headers and everything named in Connection, both ways', async () => {
    const { text } = await raw(
      router,
      'GET /x HTTP/1.1\r\nHost: app.localhost\r\nConnection: close, X-Secret, Cookie\r\nX-Secret: 1\r\nCookie: a=b\r\nTE: trailers\r\nKeep-Alive: timeout=9\r\nProxy-Authorization: x\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nX-Kept: 1\r\n\r\n',
    )
    const body = JSON.parse(text.slice(text.indexOf('{')))
    const names = body.headers.filter((_: string, i: number) => i % 2 === 0).map((name: string) => name.toLowerCase())
    for (const name of [
      'x-secret',
      'cookie',
      'te',
      'keep-alive',
      'proxy-authorization',
      'proxy-connection',
      'upgrade',
      'http2-settings',
    ]) {
      expect(names).not.toContain(name)
    }
    expect(names).toContain('x-kept')
    const back = await ask(router, { path: '/headers' })
    expect(back.headers['x-private']).toBeUndefined()
    expect(back.headers['x-coppice-router']).toBeUndefined()
    expect(back.headers['keep-alive']).not.toBe('timeout=5')
  })

  it('R13.2 a Connection header cannot name away what the router says', async () => {
    const { text } = await raw(
      router,
      'GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close, X-Forwarded-For, X-Real-Ip, X-Request-Id, Host\r\n\r\n',
    )
    const { headers } = JSON.parse(text.slice(text.indexOf('{'))) as { headers: string[] }
    for (const name of ['x-forwarded-for', 'x-real-ip', 'x-request-id', 'host']) expect(headers).toContain(name)
  })

  it('R13.4 hosts, cookies and keys of one app lead to no other', async () => {
    const mine = await ask(router)
    const cookies = (mine.headers['set-cookie'] ?? []).map((line) => line.split(';')[0]).join('; ')
    const other = await ask(router, {
      host: 'other.localhost',
      headers: { cookie: cookies, 'x-forwarded-host': 'app.localhost' },
    })
    expect(other.json.instance).toBe('b')
    expect(sent(other, 'cookie')).toEqual([])
    const absolute = await raw(
      router,
      'GET http://app.localhost/ HTTP/1.1\r\nHost: other.localhost\r\nConnection: close\r\n\r\n',
    )
    expect(absolute.text).toMatch(/^HTTP\/1\.1 400 /)
  })

  it('tells which instance answered where that is switched on, and only there', async () => {
    expect((await ask(router)).headers['x-served-by']).toBe('a; slot=0')
    expect((await ask(behindProxy)).headers['x-served-by']).toBeUndefined()
  })

  it('passes values of latin1 and repeated headers through as they are', async () => {
    const { text } = await raw(
      router,
      'GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\nX-L: caf\xe9\r\nX-R: 1\r\nx-r: 2\r\n\r\n',
    )
    expect(text).toContain('"X-R","1","x-r","2"')
    expect(Buffer.from(text, 'latin1').toString('utf8')).toContain('"X-L","café"')
  })
})
