import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { freePorts } from './ports.ts'
import { openTemporalUi, type TemporalUi } from './temporal-ui.ts'

let inner: Server
let innerPort: number | null
let seen: IncomingMessage[]
let ui: TemporalUi
let url: string

beforeEach(async () => {
  seen = []
  inner = createServer((request, response) => {
    seen.push(request)
    response.setHeader('Access-Control-Allow-Origin', '*')
    response.setHeader('X-Frame-Options', 'ALLOWALL')
    void text(request).then((body) => response.end(`${request.method} ${request.url} ${body}`))
  })
  await once(inner.listen(0, '127.0.0.1'), 'listening')
  innerPort = (inner.address() as AddressInfo).port
  const [port] = (await freePorts(1)) as [number]
  url = `http://127.0.0.1:${port}`
  ui = await openTemporalUi(port, () => innerPort)
})
afterEach(async () => {
  await ui.close()
  inner.closeAllConnections()
  inner.close()
})

describe("the door to Temporal's UI", () => {
  it('passes on what its own pages ask, and nothing of who they are', async () => {
    const headers = { origin: url, 'sec-fetch-site': 'same-origin', 'x-csrf-token': 'abc', cookie: '_csrf=abc' }
    const answer = await fetch(`${url}/api/v1/namespaces?a=b`, { method: 'POST', headers, body: '{}' })
    expect([answer.status, await answer.text()]).toEqual([200, 'POST /api/v1/namespaces?a=b {}'])
    expect(seen[0]?.headers).toMatchObject({
      'x-csrf-token': 'abc',
      cookie: '_csrf=abc',
      host: `127.0.0.1:${innerPort}`,
    })
    for (const name of ['origin', 'referer', 'sec-fetch-site']) expect(seen[0]?.headers).not.toHaveProperty(name)
  })

  it.each<[string, Record<string, string>]>([
    ['that made its own name lead here', { host: 'evil.test' }],
    ['of another origin', { origin: 'http://evil.test' }],
    ['that embeds it', { 'sec-fetch-site': 'cross-site' }],
    ['of an app at another port', { 'sec-fetch-site': 'same-site' }],
  ])('R13.7 passes on nothing of a page %s', async (_which, headers) => {
    for (const method of ['GET', 'POST', 'OPTIONS']) {
      // `fetch` would send its own Host.
      const asked = request(url, { method, headers }).end()
      const [answer] = (await once(asked, 'response')) as [IncomingMessage]
      expect([answer.statusCode, await text(answer)]).toEqual([403, expect.stringContaining('pages of others may not')])
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin')
    }
    expect(seen).toEqual([])
  })

  it('R13.7 is shown in no frame and read by no other origin, whatever the UI allows', async () => {
    const { headers } = await fetch(url)
    expect(headers.get('access-control-allow-origin')).toBeNull()
    expect(headers.get('x-frame-options')).toBe('DENY')
    expect(headers.get('cross-origin-resource-policy')).toBe('same-origin')
  })

  it('says that the server is away, and finds it again at another port', async () => {
    const port = innerPort
    innerPort = null
    expect((await fetch(url)).status).toBe(502)
    innerPort = 1
    expect((await fetch(url)).status).toBe(502)
    innerPort = port
    expect((await fetch(url)).status).toBe(200)
  })

  it('says which flag changes its port when that is taken', async () => {
    const taken = Number(new URL(url).port)
    await expect(openTemporalUi(taken, () => null)).rejects.toThrow(/EADDRINUSE.*--ui-port/)
  })
})
