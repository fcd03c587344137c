import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { ask } from './support/client.ts'
import { client, type InProcess, startInProcess } from './support/in-process.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

let origin: Origin
let router: InProcess
let version = 1

beforeAll(async () => {
  origin = await startOrigin('i0')
  router = await startInProcess(table(1, app('app', [origin])), ['--limit', 'maxWaiting=6'])
})
afterAll(async () => {
  router?.stop()
  await router?.ended
  await origin?.close()
})
beforeEach(() => router.setRoutes(table(++version, app('app', [origin]))))
afterEach(() => {
  origin.seen.length = 0
  router.log.length = 0
})

const at = (where: Origin) => where.seen.map(({ url }) => url).sort()
const lines = (path: string) => router.log.filter((line) => line.path === path)
/** Once a second. */
const waiting = () => router.gauge('coppice_router_waiting_requests')
const head = (line: string) => `${line} HTTP/1.1\r\nHost: app.localhost\r\n`

it('R1.6 a client that goes away while its request waits for an instance is gone: nothing is carried out, and its place is free at once', async () => {
  await router.setRoutes(table(++version, app('app', [origin], { held: true })))
  const requests = [
    `${head('GET /download?bytes=3000000')}\r\n`,
    `${head('POST /pay')}Content-Length: 3\r\n\r\nabc`,
    `${head('GET /socket')}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
  ]
  // As many as the app has places.
  const clients = requests.map((bytes) => client(router, bytes))
  await until(() => waiting() === 3)
  for (const socket of clients) socket.resetAndDestroy()
  for (const path of ['/download?bytes=3000000', '/pay', '/socket']) {
    await until(() => lines(path).length > 0)
    expect(lines(path)).toMatchObject([{ status: 499, clientGone: true, instance: null, attempts: 0 }])
  }
  // Their places are free: these wait, and are the only ones that are carried out.
  const stay = ['/a', '/b', '/c'].map((path) => ask(router, { path }))
  await until(() => waiting() === 3)
  await router.setRoutes(table(++version, app('app', [origin])))
  for (const answer of await Promise.all(stay)) expect(answer.status).toBe(200)
  expect(at(origin)).toEqual(['/a', '/b', '/c'])
  await until(() => router.beat().inFlight.i0 === undefined)
})

it('R12.2 a client that goes away between two runs of its request is gone: it does not run again', async () => {
  const socket = client(router, `${head('GET /hold')}\r\n`)
  await until(() => origin.held.length === 1)
  // What it has is recalled, and finds no other.
  router.setHealth({ dead: ['i0'] })
  await until(() => waiting() === 1)
  socket.resetAndDestroy()
  await until(() => lines('/hold').length > 0)
  expect(lines('/hold')).toMatchObject([{ status: 499, clientGone: true, attempts: 1 }])
  router.setHealth({})
  expect((await ask(router, { path: '/next' })).status).toBe(200)
  expect(at(origin)).toEqual(['/hold', '/next'])
})
