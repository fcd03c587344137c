import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, it } from 'vitest'
import { digestKey, pickSlot } from '../../domain/affinity.ts'
import { ask } from './support/client.ts'
import { startInProcess } from './support/in-process.ts'
import { startOrigin } from './support/origin.ts'
import { type OriginProcess, spawnOrigin } from './support/origin-process.ts'
import { startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

/** Longer than a silence that may be one of an instance that is blocked, and wakes up in a moment. */
const QUIET_MS = 1500
const GETS = 4
const SLOTS = [0, 1, 2]

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

it.each([
  ['one process', 1],
  ['two processes on one port', 2],
])(
  'R12.1 loses no GET with an instance of %s that is killed while all of its requests are slow: others answer them',
  async (_, workers) => {
    const origins = await Promise.all(SLOTS.map((slot) => spawnOrigin(`i${slot}`, 0, workers)))
    cleanups.push(() => Promise.all(origins.map((one) => one.end())))
    const router = await startRouter({ routes: table(1, app('app', origins)), args: ['--processes', '1'] })
    cleanups.push(() => router.stop())
    for (const slot of SLOTS.slice(1)) {
      const victim = origins[slot] as OriginProcess
      const inSession = (path: string) => ask(router, { path, headers: { 'x-routing-key': keyOf(slot) } })
      // On connections that a GET has just left: only these may have been lost to an instance that wakes up.
      await Promise.all(Array.from({ length: GETS }, () => inSession('/slow?ms=50')))
      const gets = Array.from({ length: GETS }, () => inSession('/slow?ms=3000'))
      await sleep(QUIET_MS)
      await victim.end()
      const answers = await Promise.all(gets)
      expect(answers.map(({ status }) => status)).toEqual(gets.map(() => 200))
      for (const { json } of answers) expect(json.instance).not.toBe(victim.name)
    }
  },
  60_000,
)

it.each([30, 700])(
  'R12.1 loses no GET with an instance that still takes connections for %i ms after it lost the first, and runs none a third time',
  async (lastsMs) => {
    const dying = await mortal()
    const other = await startOrigin('other')
    cleanups.push(() => other.close())
    const router = await startInProcess(table(1, app('app', [dying, other])))
    cleanups.push(async () => {
      router.stop()
      await router.ended
    })
    const key = Array.from({ length: 100 }, (_, i) => `k${i}`).find((one) => pickSlot(digestKey(one), [0, 1]) === 0)
    const inSession = (path: string) => ask(router, { path, headers: { 'x-routing-key': key as string } })
    expect((await Promise.all(Array.from({ length: GETS }, () => inSession('/')))).map(({ text }) => text)).toEqual(
      Array.from({ length: GETS }, () => 'mortal'),
    )
    const gets = Array.from({ length: GETS }, () => inSession('/held'))
    await until(() => dying.held === GETS)
    await sleep(QUIET_MS)
    dying.die(lastsMs)
    for (const { status, json } of await Promise.all(gets)) expect([status, json.instance]).toEqual([200, 'other'])
    expect([dying.held, other.seen.length]).toEqual([GETS, GETS])
  },
)

/** Answers `/`, holds everything else; when it dies its connections are lost first, and new ones for a while. */
async function mortal() {
  const sockets = new Set<Socket>()
  let dies = false
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('data', (head) => {
      if (dies) socket.resetAndDestroy()
      else if (head.toString().startsWith('GET / ')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nmortal')
      else one.held++
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const one = {
    name: 'mortal',
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    held: 0,
    die: (lastsMs: number) => {
      dies = true
      for (const socket of sockets) socket.destroy()
      setTimeout(() => server.close(), lastsMs)
    },
  }
  cleanups.push(async () => one.die(0))
  return one
}

/** Of a session that lives in this slot. */
function keyOf(slot: number): string {
  for (let i = 0; ; i++) if (pickSlot(digestKey(`k${i}`), SLOTS) === slot) return `k${i}`
}
