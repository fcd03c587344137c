import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freePorts } from '../../scripts/stack/ports.ts'
import { type Ask, ask } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

let origin: Origin
let router: RouterProcess
let behindProxy: RouterProcess
let port: number
let portBehindProxy: number

beforeAll(async () => {
  const [first, second] = await freePorts(2)
  port = first as number
  portBehindProxy = second as number
  origin = await startOrigin('a')
  const routes = (own: number) => table(1, app('app', [origin], { port: own }), app('other', []))
  router = await startRouter({ routes: routes(port), args: ['--processes', '1', '--hosts', 'Apps.Example'] })
  const trusting = ['--processes', '1', '--trusted-proxies', '127.0.0.0/8']
  behindProxy = await startRouter({ routes: routes(portBehindProxy), args: trusting })
  for (const own of [port, portBehindProxy])
    await until(() =>
      ask({ port: own }, { host: `127.0.0.1:${own}` }).then(
        ({ status }) => status === 200,
        () => false,
      ),
    )
})
afterAll(async () => {
  await router?.stop()
  await behindProxy?.stop()
  await origin?.close()
})

const reason = async (own: number, host: string) =>
  (await ask({ port: own }, { host })).headers['x-coppice-router'] ?? 'served'

describe('R13.7 the port of an app', () => {
  it('does not lead to it by a name that anybody can make lead there', async () => {
    for (const host of [`evil.test:${port}`, '127.0.0.1.evil.test', 'localhost.evil.test', 'other.localhost'])
      expect([host, await reason(port, host)]).toEqual([host, 'ForeignHost'])
    const answer = await ask({ port }, { host: 'evil.test', method: 'POST', body: 'x' })
    expect([answer.status, answer.text]).toEqual([421, expect.stringContaining('--hosts (COPPICE_ROUTER_HOSTS)')])
  })

  it("does by an address, by localhost, by the app's own name, and by those of --hosts", async () => {
    for (const host of ['127.0.0.1', '[::1]', '10.0.0.7', 'localhost', 'app.localhost', 'apps.example'])
      expect([host, await reason(port, `${host}:${port}`)]).toEqual([host, 'served'])
  })

  it('does by whatever name a trusted proxy was reached', async () => {
    expect(await reason(portBehindProxy, 'evil.test')).toBe('served')
  })
})

it('R13.7 the admin listener shows nothing to a web page, with the right token', async () => {
  const admin = router.log.find((line) => line.admin !== undefined)?.admin as string
  const token = (await readFile(join(router.dir, 'state', 'admin-token'), 'utf8')).trim()
  const status = async ({ headers, ...what }: Ask) =>
    (
      await ask(
        { port: Number(new URL(admin).port) },
        { headers: { authorization: `Bearer ${token}`, ...headers }, ...what },
      )
    ).status
  for (const path of ['/livez', '/metrics', '/table', '/nowhere']) {
    expect(await status({ path, host: 'evil.test' })).toBe(403)
    expect(await status({ path, host: 'localhost', headers: { origin: 'http://evil.test' } })).toBe(403)
    expect(await status({ path, host: 'localhost', headers: { 'sec-fetch-site': 'cross-site' } })).toBe(403)
  }
  const replace: Ask = { path: '/processes/replace', method: 'POST', host: 'localhost', body: 'x' }
  expect(await status({ ...replace, headers: { 'content-type': 'text/plain' } })).toBe(415)
  expect(await status({ path: '/livez', host: 'localhost' })).toBe(200)
})
