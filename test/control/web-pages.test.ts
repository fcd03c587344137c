import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, type Ask, ask as askPort } from '../router/support/client.ts'
import { startTestControl, type TestControl } from './control.ts'

const APPS = '/api/2.0/apps'

let control: TestControl
beforeAll(async () => {
  control = await startTestControl({ env: { COPPICE_API_HOSTS: 'coppice.example, control' } })
})
afterAll(() => control?.stop())

/** With the token unless it says otherwise: a page that has got hold of one is still a page. */
const ask = (what: Ask): Promise<Answer> =>
  askPort(
    { port: Number(new URL(control.url).port) },
    { host: '127.0.0.1:7400', ...what, headers: { authorization: `Bearer ${control.token}`, ...what.headers } },
  )

const FOREIGN: Array<[string, Ask]> = [
  ['by a name that it made lead here', { host: 'evil.test:7400' }],
  ['with its Origin', { headers: { origin: 'http://evil.test' } }],
  ['by an image, which has none', { headers: { 'sec-fetch-site': 'cross-site' } }],
  ['from an app at another port', { headers: { 'sec-fetch-site': 'same-site', origin: 'http://127.0.0.1:8100' } }],
  ['from a sandboxed frame', { headers: { origin: 'null' } }],
]

describe('R13.7 a web page reads and starts nothing at the control plane', () => {
  it.each(FOREIGN)('%s, not even whether it is well', async (_how, what) => {
    for (const path of ['/healthz', '/.well-known/databricks-config', APPS, '/api/coppice/v1/events', '/nowhere']) {
      const answer = await ask({ path, ...what })
      expect([path, answer.status]).toEqual([path, 403])
      expect(answer.text).toContain('PERMISSION_DENIED')
      expect(answer.headers).not.toHaveProperty('access-control-allow-origin')
      expect(answer.headers).toMatchObject({
        'cross-origin-resource-policy': 'same-origin',
        'x-content-type-options': 'nosniff',
      })
    }
    const body = '{"name":"sneaky"}'
    const headers = { 'content-type': 'application/json', ...what.headers }
    expect((await ask({ ...what, method: 'POST', path: APPS, headers, body })).status).toBe(403)
    expect((await ask({ ...what, method: 'OPTIONS', path: APPS })).status).toBe(403)
    expect(await control.store.apps.get('sneaky')).toBeNull()
  })

  it('with none of the types that it may send without asking first', async () => {
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      undefined,
    ]) {
      const headers: Record<string, string> = type === undefined ? {} : { 'content-type': type }
      for (const path of [APPS, '/api/coppice/v1/sources']) {
        const answer = await ask({ method: 'POST', path, headers, body: '{"name":"sneaky"}' })
        expect([type, path, answer.status]).toEqual([type, path, 415])
        expect(answer.text).toMatch(/send it as application\/(json|gzip)/)
      }
    }
    expect(await control.store.apps.get('sneaky')).toBeNull()
  })
})

describe('R13.7 whoever is no page goes on as before', () => {
  it('by an address, by localhost, by the names of COPPICE_API_HOSTS', async () => {
    for (const host of [
      '127.0.0.1:7400',
      'localhost:7400',
      '[::1]:7400',
      '10.1.2.3',
      'coppice.example',
      'control:7400',
    ])
      expect([host, (await ask({ host, path: APPS })).status]).toEqual([host, 200])
  })

  it('with a change that has no body, and without a type then', async () => {
    expect((await ask({ method: 'POST', path: `${APPS}/nobody/stop` })).status).toBe(404)
  })

  it('and learns from /healthz no more than that it is well', async () => {
    const answer = await ask({ path: '/healthz', headers: { authorization: '' } })
    expect([answer.status, JSON.parse(answer.text)]).toEqual([200, { status: 'ok' }])
  })
})
