import { afterAll, beforeAll, expect, it } from 'vitest'
import { run } from '../cli/cli.ts'
import { Platform, until } from '../helpers/platform.ts'
import { ServingRecord } from './serving-record.ts'
import { gather, traffic, type Visitor } from './visitors.ts'

/**
 * What is foretold of sessions is what happens to them: with the router's own counts, under 200 requests a second with
 * slow handlers mixed in, every request of every session looked at.
 */
let platform: Platform
beforeAll(async () => {
  platform = await Platform.start()
})
afterAll(() => platform?.stop())

const APP = 'even'
const BROWSERS = [40, 8, 8]
const CLIENTS = [6, 4, 4]

it('R8.2 R8.3 R6.1 a rebalance and a resize move exactly the sessions that they said before', async () => {
  await platform.write(APP)
  await platform.deploy(APP, { instances: 3 })
  const { routerUrl, home } = platform.stack
  const browsers = await gather(routerUrl, APP, 'browser', BROWSERS)
  const clients = await gather(routerUrl, APP, 'client', CLIENTS)
  const all = [...browsers, ...clients]
  const record = ServingRecord.begin(home, APP)
  const load = traffic(routerUrl, APP, all)
  await load.more(200)
  await counted([46, 12, 12])

  const { epoch, at_most } = await cli<{ epoch: number; at_most: number }>('rebalance', APP)
  // 70 sessions, so a share of 23: 23 too many in slot 0, and fewer only as far as several of them have the same rank.
  expect(at_most).toBeGreaterThan(23 - 8)
  expect(at_most).toBeLessThanOrEqual(23)
  // Since when the routers have the new table nobody knows here: until as many have moved, and then some.
  await reported(epoch, at_most)
  await load.more(500)
  expect(await cli('rebalance', APP, '--status')).toEqual({ epoch, at_most, moved: at_most })
  const moved = browsers.filter(({ keys }) => keys.size > 1)
  expect(moved.length).toBe(at_most)
  expect(moved.every(({ keys, journey }) => keys.size === 2 && journey.length === 2 && journey[0] === 0)).toBe(true)
  const stayed = all.filter((visitor) => !moved.includes(visitor))
  expect(stayed.filter(({ journey }) => journey.length > 1)).toEqual([])
  expect(clients.filter(({ jar }) => jar.size > 0)).toEqual([])

  const slots = bySlot(all)
  expect(slots[0]).toBe(46 - at_most)
  await counted(slots)
  const told = await run(platform.stack, 'apps', 'resize', APP, '--instances', '2', '--dry-run')
  expect(told.out).toContain(`${slots[2]} of 70 sessions would move`)
  const before = new Map(all.map((visitor) => [visitor, visitor.journey.length]))
  const leaving = all.filter(({ slot }) => slot === 2)
  expect((await run(platform.stack, 'apps', 'resize', APP, '--instances', '2')).code).toBe(0)
  await load.more(500)
  await load.stop()
  const further = all.filter((visitor) => visitor.journey.length > (before.get(visitor) as number))
  expect(new Set(further)).toEqual(new Set(leaving))
  expect(further.length).toBe(slots[2])
  const again = further.filter((visitor) => visitor.journey.length !== (before.get(visitor) as number) + 1)
  expect(again.map(({ kind, keys, visits }) => ({ kind, keys: [...keys], visits: visits.slice(-12) }))).toEqual([])
  expect(clients.filter(({ jar }) => jar.size > 0)).toEqual([])

  expect(load.failures()).toEqual([])
  expect(record.end()).toMatchObject({ fewest: 2 })
  await platform.settled({ [APP]: 2 })
})

const bySlot = (visitors: readonly Visitor[]): number[] =>
  [0, 1, 2].map((slot) => visitors.filter((visitor) => visitor.slot === slot).length)

async function cli<T>(...args: string[]): Promise<T> {
  const { code, out, err } = await run(platform.stack, '-o', 'json', 'apps', ...args)
  expect(code, err).toBe(0)
  return JSON.parse(out)
}

/** The routers count every few seconds, and then report. */
async function counted(sessions: readonly number[]): Promise<void> {
  let last: number[] = []
  await until(`the routers to count ${sessions.join()}`, 30_000, async () => {
    const { body } = await platform.stack.api('GET', `/api/coppice/v1/apps/${APP}/sessions`)
    last = body.slots.map((one: { sessions: number }) => one.sessions)
    return last.join() === sessions.join() ? true : null
  }).catch((error: Error) => {
    throw new Error(`${error.message}, not ${last.join()}`, { cause: error })
  })
}

async function reported(epoch: number, moved: number): Promise<void> {
  await until(`${moved} sessions to be moved`, 30_000, async () => {
    const { body } = await platform.stack.api('GET', `/api/coppice/v1/apps/${APP}/rebalance`)
    return body.epoch === epoch && body.moved >= moved ? true : null
  })
}
