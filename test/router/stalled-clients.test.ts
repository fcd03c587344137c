import type { Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { client, type InProcess, startInProcess } from './support/in-process.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

const STALL_MS = 800

let origin: Origin
let router: InProcess
const open: Socket[] = []

beforeAll(async () => {
  origin = await startOrigin('i0')
  router = await startInProcess(table(1, app('app', [origin])), [
    '--timeout',
    `writeStallMs=${STALL_MS}`,
    '--timeout',
    'drainSpreadMs=100',
  ])
})
afterEach(async () => {
  for (const socket of open.splice(0)) socket.destroy()
  await connected(0)
  origin.seen.length = 0
  router.log.length = 0
})
afterAll(async () => {
  router?.stop()
  await router?.ended
  await origin?.close()
})

/** As many clients are connected; told once a second. */
const connected = (count: number) => until(() => router.gauge('coppice_router_connections') === count, 20_000)
/** The first of its requests is answered or on its way; what is counted from now on knows its connection. */
const arrived = async () => {
  await until(() => origin.seen.length + router.log.length > 0)
  router.told.length = 0
}
const get = (path: string, more = '', host = 'app.localhost') => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`
function silent(bytes: string): Socket {
  const socket = client(router, bytes)
  open.push(socket)
  return socket
}

it.each([
  ['an answer that the instance has not ended', get('/download?bytes=100000000')],
  ['answers that the instance has ended', get('/download?bytes=15000').repeat(1000)],
  ['answers of the router itself', get('/', '', 'nobody.localhost').repeat(20_000)],
])('a client that takes nothing of %s is cut off', async (_, bytes) => {
  silent(bytes)
  await arrived()
  await connected(0)
  await until(() => router.beat().inFlight.i0 === undefined)
})

it('a WebSocket whose client takes nothing is cut off when its instance has left, and not before', async () => {
  const upgrade =
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
  silent(get('/flood', upgrade))
  const instance = (await until(() => [...origin.sockets].find((one) => one.writableLength > 1e5))) as Socket
  // Somebody else is cut off meanwhile.
  silent(get('/download?bytes=100000000'))
  await until(() => origin.seen.length === 2)
  await connected(1)
  expect(instance.destroyed).toBe(false)
  const leaves = { name: 'i0', address: origin.address, state: 'draining' as const }
  await router.setRoutes(table(2, app('app', [leaves], { drainTimeoutMs: 100 })))
  await connected(0)
})
