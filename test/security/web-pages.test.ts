import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Client, Connection } from '@temporalio/client'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { portOf } from '../../domain/address.ts'
import { isLoopback, systemListeners } from '../../runtime/listeners.ts'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { freePorts, REFUSED_BY_BROWSERS } from '../../scripts/stack/ports.ts'
import { freeStackOptions } from '../../scripts/stack-options.ts'
import { startBrowser } from '../helpers/browser.ts'
import { Platform } from '../helpers/platform.ts'
import { ask } from '../router/support/client.ts'

/**
 * R13.7 against a whole running stack, Temporal and its UI included: a page of another origin in a real Chromium tries
 * every port on which any process of it listens, as it would find them by a scan; then the same from a page whose own
 * name leads to that port (DNS rebinding). It even has the tokens.
 */
type Got = { how: string; path: string; status?: number; text?: string }
type Listener = { owner: string; address: string }

const PATIENCE_MS = 5_000
const json = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64')
/** Each as the HTTP API takes it, and as the UI does. */
const start = (input: unknown) =>
  JSON.stringify({ workflowType: { name: 'stop' }, taskQueue: { name: 'coppice' }, input })
const encoded = {
  payloads: [{ metadata: { encoding: Buffer.from('json/plain').toString('base64') }, data: json({ app: 'shop' }) }],
}
const WORKFLOWS = '/api/v1/namespaces/default/workflows'

const REQUESTS = [
  { path: '/' },
  { path: '/healthz' },
  { path: '/metrics' },
  { path: '/api/v1/settings' },
  { path: WORKFLOWS },
  { path: '/api/2.0/apps' },
  { path: '/api/coppice/v1/doctor' },
  { path: '/.well-known/databricks-config' },
  { path: '/livez' },
  { path: '/table' },
  { path: `${WORKFLOWS}/web-page`, body: start([{ app: 'shop' }]) },
  { path: `${WORKFLOWS}/web-page-by-ui`, body: start(encoded) },
  { path: '/api/2.0/apps', body: '{"name":"sneaky"}' },
  { path: '/api/2.0/apps/shop/stop', body: '{}' },
  { path: '/api/coppice/v1/apps/shop/restart', body: '{}' },
  { path: '/processes/replace', body: '{}' },
]

let platform: Platform
let browser: Browser
let temporal: Connection
let bait: Server
let visits: string[]
let script: string
let tokens: string[]
let listeners: Listener[]
let before: Awaited<ReturnType<typeof state>>

beforeAll(async () => {
  const [adminPort] = (await freePorts(1)) as [number]
  const { home: _, ...ports } = await freeStackOptions('')
  platform = await Platform.start({
    ports: { ...ports, temporalUi: true },
    env: { COPPICE_ROUTER_ADMIN: `127.0.0.1:${adminPort}` },
  })
  await platform.write('shop')
  expect(await platform.deploy('shop')).toMatchObject({ state: 'SUCCEEDED' })
  const adminToken = await readFile(join(platform.stack.home, 'router', 'admin-token'), 'utf8')
  tokens = [platform.stack.token, adminToken.trim()]
  temporal = await Connection.connect({ address: platform.stack.temporalAddress })
  // What an app or a tool of somebody's would be that judges nothing: shows that the attack is one.
  bait = createServer((request, response) => {
    visits.push(`${request.method} ${request.headers['content-type'] ?? 'none'} ${request.headers.host}`)
    response.end('bait')
  })
  await once(bait.listen(0, '127.0.0.1'), 'listening')
  listeners = await listenersOf(platform)
  script = await readFile(join(import.meta.dirname, 'web-page.js'), 'utf8')
  browser = await startBrowser()
  before = await state()
})
afterAll(async () => {
  await browser?.close()
  await temporal?.close()
  bait?.close()
  await platform?.stop()
})

/** Of every process of the stack and all that they started, but for those of apps; and this one's, the door to the UI. */
async function listenersOf({ stack }: Platform): Promise<Listener[]> {
  const rows = await systemProcessTable().rows()
  const instances = new Set((await instancesOf('shop')).map(({ pid }) => pid))
  const family = (pid: number): number[] => {
    if (instances.has(pid)) return []
    return [pid, ...rows.filter(({ parent }) => parent === pid).flatMap((row) => family(row.pid))]
  }
  const found: Listener[] = [{ owner: 'door to the UI', address: `127.0.0.1:${stack.options.uiPort}` }]
  for (const [owner, pid] of Object.entries(stack.pids))
    for (const address of await systemListeners()(family(pid as number))) found.push({ owner, address })
  return found
}

const instancesOf = async (app: string): Promise<{ id: string; pid: number; state: string }[]> =>
  (await platform.stack.api('GET', `/api/coppice/v1/apps/${app}/instances`)).body.instances

/** Everything that a page could have changed. */
async function state() {
  const { api, pids } = platform.stack
  const executions = []
  for await (const { workflowId, runId, status } of new Client({ connection: temporal }).workflow.list())
    executions.push(`${workflowId} ${runId} ${status.name}`)
  const { body: operations } = await api('GET', '/api/coppice/v1/operations')
  const { body: apps } = await api('GET', '/api/2.0/apps')
  const rows = await systemProcessTable().rows()
  const processes = rows.filter(({ parent }) => parent === pids.router).map(({ pid }) => pid)
  return { executions: executions.sort(), operations, apps, processes, instances: await instancesOf('shop') }
}

/** A page at `origin`; what is loaded there first is ours, all else goes where its name leads, as after a rebinding. */
async function attackFrom(origin: string, base: string): Promise<Got[]> {
  const page = await browser.newPage()
  try {
    await page.route(`${origin}/attack`, (route) => route.fulfill({ contentType: 'text/html', body: '<body></body>' }))
    await page.goto(`${origin}/attack`)
    // While anything is routed, Playwright answers preflights itself.
    await page.unrouteAll()
    const target = { base, requests: REQUESTS, tokens, patienceMs: PATIENCE_MS }
    return (await page.evaluate(`${script}; attack(${JSON.stringify(target)})`)) as Got[]
  } finally {
    await page.close()
  }
}

/** The port of an app serves the app, by an address: what it answers to a page is the app's own business. */
const appPort = async (): Promise<number> => {
  const { body } = await platform.stack.api('GET', '/api/2.0/apps/shop')
  return Number(
    (body.urls as string[]).map((url) => new URL(url)).find(({ hostname }) => hostname === '127.0.0.1')?.port,
  )
}

const baitPort = () => (bait.address() as AddressInfo).port

/** A page asks each listener in every way there is, one after the other. */
const LONG = { timeout: 300_000 }

describe('R13.7 a web page', () => {
  it('meets no listener of the platform that is not on loopback (R13.5), and each of those that there are', () => {
    expect(listeners.filter(({ address }) => !isLoopback(address))).toEqual([])
    const count = (owner: string) => listeners.filter((listener) => listener.owner === owner).length
    // gRPC of the frontend, of history and of matching; the HTTP API; metrics; the UI.
    expect(count('temporal')).toBe(6)
    expect(count('control')).toBe(1)
    // The common port, the admin listener, the app's own port.
    expect(count('router')).toBe(3)
    expect(count('worker')).toBe(0)
  })

  it('of another origin reads nothing, opens nothing and starts nothing, with the right tokens', LONG, async () => {
    visits = []
    expect(await attackFrom('http://page.test', `http://127.0.0.1:${baitPort()}`)).toEqual([])
    // It read nothing, and all that needs no leave arrived.
    expect(new Set(visits.map((visit) => visit.split(' ').slice(0, 2).join(' ')))).toEqual(
      new Set(['GET none', 'POST text/plain;charset=UTF-8', 'POST text/plain', 'POST none', 'OPTIONS none']),
    )
    for (const { owner, address } of listeners)
      for (const host of ['127.0.0.1', 'localhost']) {
        const got = await attackFrom('http://page.test', `http://${host}:${portOf(address)}`)
        expect({ owner, address, got }).toEqual({ owner, address, got: [] })
      }
    expect(await state()).toEqual(before)
  })

  it(
    'whose name leads to a listener (DNS rebinding) is told that it has no business there, and no more',
    LONG,
    async () => {
      visits = []
      const own = await attackFrom(`http://rebound.test:${baitPort()}`, `http://rebound.test:${baitPort()}`)
      expect(own.filter(({ text }) => text === 'bait').length).toBeGreaterThan(REQUESTS.length)
      expect(visits).toContain(`POST application/json rebound.test:${baitPort()}`)

      for (const { owner, address } of listeners) {
        const origin = `http://rebound.test:${portOf(address)}`
        const got = await attackFrom(origin, origin)
        const more = got.filter(({ status, text }) => !isRefusal(status, text ?? ''))
        expect({ owner, address, more }).toEqual({ owner, address, more: [] })
      }
      expect(await state()).toEqual(before)
    },
  )

  it("has no way to Temporal's metrics and UI, which would tell everybody everything", async () => {
    const open: number[] = []
    for (const { address } of listeners.filter(({ owner }) => owner === 'temporal')) {
      const port = portOf(address)
      const answers = await ask({ port }, { path: '/metrics', host: 'rebound.test' }).catch(() => null)
      if (answers?.status === 200) open.push(port)
    }
    expect(open).toHaveLength(2)
    for (const port of open) expect(REFUSED_BY_BROWSERS).toContain(port)
  })

  it('of a person who asked for it shows the UI, and that can do what it is for', async () => {
    const page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${platform.stack.options.uiPort}/`)
    await page.getByText('app/shop').first().waitFor()
    await page.close()
  })

  it('can ask an app on its own port, by an address and not by a name of its own', async () => {
    const port = await appPort()
    expect((await ask({ port }, { host: `127.0.0.1:${port}` })).status).toBe(200)
    expect((await ask({ port }, { host: `rebound.test:${port}` })).status).toBe(421)
  })
})

/** What says nothing but no. `0` is what a frame shows, without its status. */
function isRefusal(status: number | undefined, text: string): boolean {
  const words =
    /PERMISSION_DENIED|web pages of others|Host not allowed|"Not Found"|NoSuchApp|There is no app|ForeignHost|not reached by that name/
  return status !== undefined && ![200, 201, 202, 204].includes(status) && words.test(text) && !text.includes('shop')
}
