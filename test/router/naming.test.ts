/** Which instance answered: the router says it to whoever shows the naming key of the app, and to nobody else. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { type Ask, ask, raw, sent } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

const KEY = randomBytes(32).toString('base64url')
const OTHER_KEY = randomBytes(32).toString('base64url')
const digestOf = (key: string) => createHash('sha256').update(key).digest('hex')
const NAMING = 'X-Coppice-Naming-Key'
const WITH_KEY = { [NAMING]: KEY }
const SAID = 'app-1-0; slot=0; deployment=d1'

/** What comes with an answer; its body is left unread, as it may have no end. */
async function headOf(router: RouterProcess, { path = '/', headers = {} }: Ask): Promise<IncomingHttpHeaders> {
  const asked = request({ port: router.port, path, headers: { host: 'app.localhost', ...headers } }).end()
  const [answer] = await once(asked, 'response')
  asked.destroy()
  return answer.headers
}

describe('R11.4 the naming key', () => {
  let origin: Origin
  let other: Origin
  let speaking: Server
  let router: RouterProcess

  beforeAll(async () => {
    origin = await startOrigin('app-1-0')
    other = await startOrigin('other-1-0')
    // Says in words of its own who answers, as apps behind a CDN do, and lets caches keep what it says.
    speaking = createServer((_request, response) => {
      response.writeEarlyHints({ link: '</a.css>; rel=preload', 'x-served-by': 'hint' })
      response.writeHead(200, {
        'x-served-by': 'words of its own',
        'cache-control': 'public, max-age=60, s-maxage=600',
        trailer: 'X-Served-By',
        'transfer-encoding': 'chunked',
      })
      response.write('body')
      response.addTrailers({ 'X-Served-By': 'trailer' })
      response.end()
    }).listen(0, '127.0.0.1')
    await once(speaking, 'listening')
    const own = { name: 'own-1-0', address: `127.0.0.1:${(speaking.address() as AddressInfo).port}` }
    const named = { namingDigest: digestOf(KEY) }
    const first = app('app', [origin], named)
    router = await startRouter({
      routes: table(
        1,
        { ...first, endpoints: first.endpoints.map((endpoint) => ({ ...endpoint, deployment: 'd1' })) },
        app('other', [other], { namingDigest: digestOf(OTHER_KEY) }),
        app('own', [own], { ...named, affinity: false }),
        app('unnamed', [other]),
        app('stopped', [], { ...named, status: 'stopped' }),
      ),
      args: ['--processes', '1', '--access-log', 'on'],
    })
  })
  afterAll(async () => {
    await router?.stop()
    speaking?.close()
    await Promise.all([origin, other].map((one) => one?.close()))
  })

  it.each<Ask>([
    {},
    { method: 'HEAD' },
    { method: 'POST', body: 'x=1' },
    { path: '/status?code=304' },
    { path: '/status?code=404' },
    { path: '/status?code=503' },
    { headers: { 'x-routing-key': 'mine' } },
  ])('opens the name of who answers, and does not reach the app: %o', async (what) => {
    const before = origin.seen.length
    const answer = await ask(router, { ...what, headers: { ...what.headers, ...WITH_KEY } })
    expect(answer.headers['x-served-by']).toBe(SAID)
    const got = origin.seen.slice(before)
    expect(got).toHaveLength(1)
    expect(JSON.stringify(got)).not.toMatch(new RegExp(`naming|${KEY}`, 'i'))
  })

  it('opens it for event streams, and for WebSockets, granted and refused', async () => {
    expect((await headOf(router, { path: '/events', headers: WITH_KEY }))['x-served-by']).toBe(SAID)
    const open = (path: string) =>
      new WebSocket(`ws://127.0.0.1:${router.port}${path}`, { headers: { host: 'app.localhost', ...WITH_KEY } })
    const granted = open('/')
    const messages = once(granted, 'message')
    const [upgrade] = await once(granted, 'upgrade')
    expect(upgrade.headers['x-served-by']).toBe(SAID)
    expect(String((await messages)[0])).not.toMatch(/naming/i)
    granted.close()
    const refused = open('/refuse').on('error', () => undefined)
    const [, answer] = await once(refused, 'unexpected-response')
    expect([answer.statusCode, answer.headers['x-served-by']]).toEqual([403, SAID])
    refused.terminate()
  })

  it('without it nobody is told, by whatever name or value it comes close', async () => {
    const close: Required<Ask>['headers'][] = [
      {},
      { [NAMING]: '' },
      { [NAMING]: OTHER_KEY },
      { [NAMING]: KEY.slice(1) },
      { [NAMING]: `${KEY}x` },
      // What stands in the table, for those who have read that.
      { [NAMING]: digestOf(KEY) },
      { [NAMING]: [OTHER_KEY, KEY] },
      { X_Coppice_Naming_Key: KEY },
    ]
    for (const headers of close) {
      const answer = await ask(router, { headers })
      expect(answer.status).toBe(200)
      expect(answer.headers['x-served-by'], JSON.stringify(headers)).toBeUndefined()
      expect(answer.headers['cache-control']).toBe((await ask(router)).headers['cache-control'])
      expect(JSON.stringify(answer.json.headers), JSON.stringify(headers)).not.toMatch(/naming/i)
    }
  })

  it('opens one app: not another one, and none that has no key', async () => {
    for (const host of ['other.localhost', 'unnamed.localhost']) {
      const answer = await ask(router, { host, headers: WITH_KEY })
      expect(answer.headers['x-served-by']).toBeUndefined()
      expect(sent(answer, NAMING.toLowerCase())).toEqual([])
    }
    expect(
      (await ask(router, { host: 'other.localhost', headers: { [NAMING]: OTHER_KEY } })).headers['x-served-by'],
    ).toBe('other-1-0; slot=0')
  })

  it('answers of the router itself name no instance', async () => {
    const stopped = await ask(router, { host: 'stopped.localhost', headers: WITH_KEY })
    expect([stopped.status, stopped.headers['x-served-by']]).toEqual([503, undefined])
    // The instance had it, and gave no answer that could be passed on.
    const dropped = await ask(router, { method: 'POST', path: '/drop', headers: WITH_KEY })
    expect([dropped.status, dropped.headers['x-coppice-router'], dropped.headers['x-served-by']]).toEqual([
      502,
      'UpstreamFailed',
      undefined,
    ])
    expect((await ask(router, { host: 'nobody.localhost', headers: WITH_KEY })).headers['x-served-by']).toBeUndefined()
  })

  it('what an app says in X-Served-By passes as it is; whoever is told by the router is told by it alone', async () => {
    const host = 'own.localhost'
    const text = async (key: string) =>
      (await raw(router, `GET / HTTP/1.1\r\nHost: ${host}\r\n${key}Connection: close\r\n\r\n`)).text
    const said = (all: string) => [...all.matchAll(/^x-served-by: (.*)\r$/gim)].map(([, value]) => value)
    const plain = await text('')
    expect(said(plain)).toEqual(['hint', 'words of its own', 'trailer'])
    expect(plain).toContain('public, max-age=60, s-maxage=600\r\n')
    const told = await text(`${NAMING}: ${KEY}\r\n`)
    expect(said(told)).toEqual(['own-1-0; slot=0'])
    // A cache in between must not give it to others.
    expect(told).toMatch(/cache-control: private, max-age=60\r\n/i)
    expect(said(await text(`${NAMING}: wrong\r\n`))).toEqual(['hint', 'words of its own', 'trailer'])
  })

  it('stands in no log, no metric and no answer of the admin listener', async () => {
    const kept = JSON.stringify([
      router.log,
      await router.admin('/table'),
      await router.admin('/status'),
      await router.admin('/metrics'),
    ])
    expect(kept).toContain(digestOf(KEY))
    expect(router.log.filter(({ event }) => event === 'request').length).toBeGreaterThan(10)
    expect(kept).not.toContain(KEY)
    expect(kept).not.toContain(OTHER_KEY)
  })
})
