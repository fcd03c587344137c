/** What keeps its session in memory: works on three instances with affinity, and does not without. */
import { existsSync } from 'node:fs'
import { cp, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import type { AppRoute, RouteTable } from '../../domain/route-table.ts'
import { parseHistory } from '../../loadtest/history-line.ts'
import { ROOT } from '../../scripts/stack-options.ts'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'
import { coppice } from '../cli/cli.ts'
import { Platform } from '../helpers/platform.ts'
import { startRouter } from '../router/support/router-process.ts'
import { app as route } from '../router/support/tables.ts'
import { StreamlitPage } from './streamlit-page.ts'

const INSTANCES = 3
/** Drawn at random, this many sessions leave one of the instances out in about one run of a billion: 3 × (2/3)^54. */
const MOST_SESSIONS = 54
const CSV = 'tree,wood\nbirch,3\nbirch,4\noak,11\n'

let platform: Platform
let k6: string
const pages: StreamlitPage[] = []

beforeAll(async () => {
  platform = await Platform.start()
  await cp(join(ROOT, 'examples', 'streamlit-explorer'), join(platform.sources, 'explorer'), { recursive: true })
  // Cold, Streamlit and what it needs are 115 MB to download, and 3,300 files to compile.
  const deployed = await platform.ended(await platform.beginDeploy('explorer', { instances: INSTANCES }), 270_000)
  expect(deployed.failure).toBeUndefined()
  // Likewise k6, which the load tests would fetch.
  k6 = (await resolveTool('k6')).path
}, 400_000)
afterEach(() => {
  for (const page of pages.splice(0)) page.close()
})
afterAll(() => platform?.stop())

async function open(url: string): Promise<StreamlitPage> {
  const page = await StreamlitPage.open(url)
  pages.push(page)
  return page
}

const slotOf = (page: StreamlitPage) => Number(page.shows(/Served by slot (\d)/))
const rowsOf = (page: StreamlitPage) => page.shows(/(\d+ of \d+) rows/)
const keptOf = (page: StreamlitPage) => Number(page.shows(/Views kept in this session: (\d+)/))

it('R1.1 R7.1 R7.3 WebSocket, session state, upload and download of a Streamlit session meet one of three instances', async () => {
  const { body } = await platform.stack.api('GET', '/api/2.0/apps/explorer')
  const bySlot = new Map<number, StreamlitPage>()
  for (let opened = 0; bySlot.size < INSTANCES && opened < MOST_SESSIONS; opened++) {
    const page = await open(body.urls.at(-1))
    bySlot.set(slotOf(page), page)
  }
  expect([...bySlot.keys()].sort()).toEqual([0, 1, 2])

  for (const [slot, page] of bySlot) {
    expect(rowsOf(page)).toBe('40 of 40')
    expect(await page.upload('upload', 'trees.csv', CSV)).toMatchObject({ status: 204 })
    expect(rowsOf(page)).toBe('3 of 3')
    // One view more in each session than in the one before: no session sees another's.
    for (let kept = 0; kept <= slot; kept++) await page.press('keep')
    expect([slotOf(page), rowsOf(page), keptOf(page)]).toEqual([slot, '3 of 3', slot + 1])
    expect(await page.download()).toEqual({ status: 200, text: CSV })
  }
})

it('R7.3 without affinity the upload of a Streamlit session meets another instance, which refuses it', async () => {
  const table = await tableOf({ affinity: false }, 1)
  // The router's processes count for themselves which instance has least to do; one makes it certain.
  const router = await startRouter({ routes: table, args: ['--processes', '1'] })
  try {
    const lost = await open(router.url)
    expect(rowsOf(lost)).toBe('40 of 40')
    expect(await lost.upload('upload', 'trees.csv', CSV)).toEqual({
      status: 400,
      text: expect.stringContaining('Invalid session_id'),
    })

    // By the same router in front of the same instances, with nothing changed but that.
    await router.setRoutes(await tableOf({ affinity: true }, 2))
    const kept = await open(router.url)
    expect(await kept.upload('upload', 'trees.csv', CSV)).toMatchObject({ status: 204 })
    expect(rowsOf(kept)).toBe('3 of 3')
  } finally {
    await router.stop()
  }
})

it('R11.4 a load test of Streamlit, which says nowhere which instance answers, knows it by the router, and nobody else does', async () => {
  const out = join(platform.sources, '..', 'loadtest')
  const over = new AbortController()
  const watched = commandsWith(out, over.signal)
  const { code, output } = await loadtest(out).finally(() => over.abort())
  const commands = await watched
  expect(code, output).toBe(0)
  expect(output).toContain('held')
  const history = parseHistory(await readFile(join(out, 'affinity', 'history.txt'), 'utf8'))
  const { body } = await platform.stack.api('GET', '/api/coppice/v1/apps/explorer/instances')
  const instances = body.instances as Array<{ id: string; slot: number; deployment_id: string }>
  expect(history.length).toBeGreaterThan(50)
  const seen = new Set(history.map(({ instance, slot, version }) => `${instance} ${slot} ${version}`))
  expect(seen).toEqual(new Set(instances.map(({ id, slot, deployment_id }) => `${id} ${slot} ${deployment_id}`)))
  expect(await readFile(join(out, 'report.html'), 'utf8')).toMatch(/All \d+ promises held/)

  // A secret of this run: in no file of it, in no argument of a process, in no log of the platform.
  const key = (await platform.stack.api('GET', '/api/coppice/v1/apps/explorer/naming-key')).body.naming_key as string
  expect(key).toMatch(/^[\w-]{43}$/)
  expect(commands.some((command) => command.includes('history.txt'))).toBe(true)
  expect(commands.filter((command) => command.includes(key))).toEqual([])
  expect(output).not.toContain(key)
  expect(await filesWith(key, out)).toEqual([])
  expect(await filesWith(key, join(platform.stack.home, 'logs'))).toEqual([])
})

it('R11.4 through a router that knows no naming keys the load test says that it proves nothing, and shows no tick', async () => {
  // What a control plane of an earlier version publishes has no digest, and a router of one knows no such header.
  const router = await startRouter({ routes: await tableOf({ namingDigest: null }, 1) })
  try {
    const out = join(platform.sources, '..', 'loadtest-older')
    const { code, output } = await loadtest(out, ['-e', `APP_URL=${router.url}`])
    expect(code, output).toBe(75)
    expect(output).toMatch(
      /unfit: (\d+) of \1 good answers came without the router's word .*older version.*INSTANCE_AT/,
    )
    expect(output).not.toContain('✓')
    const report = await readFile(join(out, 'report.html'), 'utf8')
    const page = report.slice(0, report.indexOf('<script'))
    expect(page).toContain('Nothing proved')
    expect(page).not.toContain('✓')
  } finally {
    await router.stop()
  }
})

it('R11.4 a user, who may not know which instance answers, gets no load test begun', async () => {
  const { body } = await platform.stack.api('POST', '/api/coppice/v1/tokens', { name: 'ada' })
  const out = join(platform.sources, '..', 'loadtest-user')
  const { code, output } = await loadtest(out, [], { COPPICE_TOKEN: body.token })
  expect(code).toBe(1)
  expect(output).toMatch(/naming-key\/? is for admins; ada is none/)
  expect(existsSync(join(out, 'affinity', 'history.txt'))).toBe(false)
})

/** `coppice loadtest explorer affinity`, short. */
async function loadtest(out: string, more: string[] = [], env: NodeJS.ProcessEnv = {}) {
  const flags = ['--rate', '30', '--duration', '6s', '--out', out, ...more]
  const options = { home: platform.stack.home, env: { COPPICE_K6: k6, ...env } }
  const ran = await coppice(['loadtest', 'explorer', 'affinity', ...flags], options).ended
  return { code: ran.code, output: ran.out + ran.err }
}

/** Collects the command lines in which this stands, as everybody on the machine can. */
async function commandsWith(text: string, until: AbortSignal): Promise<string[]> {
  const found: string[] = []
  for (; !until.aborted; await sleep(100)) {
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
      if (command.includes(text)) found.push(command)
    }
  }
  return found
}

async function filesWith(text: string, folder: string): Promise<string[]> {
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  expect(files.length).toBeGreaterThan(0)
  const paths = files.map(({ parentPath, name }) => join(parentPath, name))
  const texts = await Promise.all(paths.map((path) => readFile(path, 'utf8')))
  return paths.filter((_path, index) => texts[index]?.includes(text))
}

/** The instances as they run, for a router that stands alone. */
async function tableOf(more: Partial<AppRoute>, version: number): Promise<RouteTable> {
  const { body } = await platform.stack.api('GET', '/api/coppice/v1/apps/explorer/instances')
  const origins = (body.instances as Array<{ id: string; slot: number; address: string }>).map(
    ({ id, slot, address }) => ({ name: id, slot, address }),
  )
  expect(origins).toHaveLength(INSTANCES)
  return {
    protocol: 1,
    inventory: 'alone',
    version,
    apps: [route('explorer', origins, { hostnames: ['127.0.0.1'], ...more })],
  }
}
