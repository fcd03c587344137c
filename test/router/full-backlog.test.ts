import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { digestKey, pickSlot } from '../../domain/affinity.ts'
import { ask } from './support/client.ts'
import { type FullBacklog, fullBacklog } from './support/full-backlog.ts'
import { type InProcess, startInProcess } from './support/in-process.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

const BLOCKED_SLOT = 1
const SLOTS = [0, 1, 2]
/** Of a session that lives where the queue is full. */
const KEY = Array.from({ length: 100 }, (_, i) => `key-${i}`).find(
  (key) => pickSlot(digestKey(key), SLOTS) === BLOCKED_SLOT,
) as string
const FIRST_BYTE_MS = 6000

let others: Origin[]
let blocked: FullBacklog
let router: InProcess
let version = 0

const routes = () => {
  const [first, third] = others as [Origin, Origin]
  return table(++version, app('app', [first, blocked, third]), app('one', [blocked]))
}
beforeAll(async () => {
  others = [await startOrigin('i0'), await startOrigin('i2')]
  blocked = await fullBacklog('i1')
  const settings = ['--timeout', 'connectMs=200', '--timeout', `firstByteMs=${FIRST_BYTE_MS}`, '--check', 'quietMs=300']
  router = await startInProcess(routes(), settings)
})
beforeEach(async () => {
  await blocked.close()
  blocked = await fullBacklog('i1')
  await router.setRoutes(routes())
  router.told.length = 0
  for (const other of others) other.seen.length = 0
})
afterEach(() => blocked.close())
afterAll(async () => {
  router?.stop()
  await router?.ended
  await Promise.all(others?.map((origin) => origin.close()) ?? [])
})

const inSession = (path: string, method: string, more: object = {}) =>
  ask(router, { path, method, headers: { 'x-routing-key': KEY }, ...more })
const suspects = () => router.told.filter((one) => one.type === 'suspect').length
const served = () => others.flatMap(({ seen }) => seen.map(({ url }) => url))
const methods = ['GET', 'POST'] as const

it('R12.2 a session waits for its instance whose queue is full, as long as that takes, while new sessions go elsewhere; so does an app of one instance', async () => {
  const early = methods.map((method) => inSession('/mine', method))
  const alone = methods.map((method) => ask(router, { path: '/alone', method, host: 'one.localhost' }))
  await until(() => suspects() >= 3)
  // What comes behind the first that could not connect waits as well.
  const late = inSession('/mine', 'GET')
  const strangers = await Promise.all(Array.from({ length: 12 }, () => ask(router, { path: '/new' })))
  for (const { json } of strangers) expect(['i0', 'i2']).toContain(json.instance)
  const before = suspects()
  await until(() => suspects() >= before + 2)
  blocked.goOn()
  for (const { status, text } of await Promise.all([...early, ...alone, late]))
    expect([status, text]).toEqual([200, 'i1'])
  expect(served()).toEqual(strangers.map(() => '/new'))
  await until(() => blocked.seen.length >= 5)
  expect([...blocked.seen].sort()).toEqual(['GET /alone', 'GET /mine', 'GET /mine', 'POST /alone', 'POST /mine'])
})

it.each([
  ['dead', { dead: ['i1'] }],
  ['given up for its silence', { givenUp: ['i1'] }],
])(
  'R12.2 a session that waits for a connection to an instance that is %s moves, POSTs too, and nothing of it is carried out there',
  async (_, health) => {
    const waiting = methods.map((method) => inSession('/mine', method))
    // Whoever waits for a connection waits, too: by this the instance is given up.
    await until(() => (router.told.findLast((one) => one.type === 'beat')?.beat.silentMs.i1 ?? 0) > 1000)
    router.setHealth(health)
    for (const answer of await Promise.all(waiting)) expect(['i0', 'i2']).toContain(answer.json.instance)
    blocked.goOn()
    router.setHealth({})
    expect((await inSession('/later', 'GET')).text).toBe('i1')
    await until(() => blocked.seen.length > 0)
    expect(blocked.seen).toEqual(['GET /later'])
  },
)

it('R12.2 a session that waits for a connection to an instance that is silent, and not given up because too many are, waits on with those that come later', async () => {
  const waiting = methods.map((method) => inSession('/mine', method))
  await until(() => (router.told.findLast((one) => one.type === 'beat')?.beat.silentMs.i1 ?? 0) > 1000)
  router.setHealth({ busy: ['i1'] })
  router.keep(['i1'])
  waiting.push(inSession('/mine', 'GET'))
  const before = suspects()
  await until(() => suspects() >= before + 2)
  expect(served()).toEqual([])
  blocked.goOn()
  for (const { status, text } of await Promise.all(waiting)) expect([status, text]).toEqual([200, 'i1'])
  expect(served()).toEqual([])
})

it('R12.2 a session that waits for a connection to a silent instance moves when that is given up after all', async () => {
  const waiting = methods.map((method) => inSession('/mine', method))
  await until(() => suspects() >= 1)
  router.keep(['i1'])
  router.setHealth({ givenUp: ['i1'], busy: ['i1'] })
  for (const answer of await Promise.all(waiting)) expect(['i0', 'i2']).toContain(answer.json.instance)
  blocked.goOn()
  router.setHealth({})
  await until(async () => (await inSession('/later', 'GET')).text === 'i1')
  expect(blocked.seen).not.toContain('GET /mine')
})

it('R3.4 a session that waits for a connection to an instance that drains goes to the next version', async () => {
  const waiting = inSession('/mine', 'POST')
  await until(() => suspects() >= 1)
  const [first, third] = others as [Origin, Origin]
  const drains = { name: 'i1', address: blocked.address, state: 'draining' as const, slot: 1 }
  await router.setRoutes(table(++version, app('app', [first, drains, third])))
  expect(['i0', 'i2']).toContain((await waiting).json.instance)
})

it('R13.6 whoever waits for a connection gets 504 when the time for the first byte is over', async () => {
  const began = performance.now()
  const answers = await Promise.all([inSession('/mine', 'GET'), ask(router, { host: 'one.localhost', method: 'POST' })])
  for (const answer of answers)
    expect([answer.status, answer.headers['x-coppice-router']]).toEqual([504, 'UpstreamTimeout'])
  expect(performance.now() - began).toBeGreaterThanOrEqual(FIRST_BYTE_MS)
  await until(() => router.beat().inFlight.i1 === undefined)
  expect(served()).toEqual([])
})
