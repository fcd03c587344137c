/** What keeps its session in memory: works on three instances with affinity, and does not without. */
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import type { AppRoute, RouteTable } from '../../domain/route-table.ts'
import { ROOT } from '../../scripts/stack-options.ts'
import { Platform } from '../helpers/platform.ts'
import { startRouter } from '../router/support/router-process.ts'
import { app as route } from '../router/support/tables.ts'
import { StreamlitPage } from './streamlit-page.ts'

const INSTANCES = 3
/** Drawn at random, this many sessions leave one of the instances out in about one run of a billion: 3 × (2/3)^54. */
const MOST_SESSIONS = 54
const CSV = 'tree,wood\nbirch,3\nbirch,4\noak,11\n'

let platform: Platform
const pages: StreamlitPage[] = []

beforeAll(async () => {
  platform = await Platform.start()
  await cp(join(ROOT, 'examples', 'streamlit-explorer'), join(platform.sources, 'explorer'), { recursive: true })
  // Cold, Streamlit and what it needs are 115 MB to download, and 3,300 files to compile.
  const deployed = await platform.ended(await platform.beginDeploy('explorer', { instances: INSTANCES }), 270_000)
  expect(deployed.failure).toBeUndefined()
}, 300_000)
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
