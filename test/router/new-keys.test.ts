import { randomInt } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { digestKey, mintKey, rankSlots } from '../../domain/affinity.ts'
import { loopbackCookie, ROUTER_COOKIE } from '../../domain/product.ts'
import { ask, cookiesOf } from './support/client.ts'
import { startOrigin } from './support/origin.ts'
import { RawOrigin } from './support/raw-origin.ts'
import { startRouter } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

const TWIN = loopbackCookie('app')
const SLOTS = [0, 1, 2]
/** Where slot 1 loses the connection, without an answer; everything else it answers. */
const LOST = { path: '/lost' }

const homeOf = (key: string, slots = SLOTS) => rankSlots(digestKey(key), slots)[0]

describe('a new key names the slot whose instance answered', () => {
  const cleanups: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  async function route(more: (origins: Parameters<typeof app>[1]) => ReturnType<typeof app>) {
    const [a, c] = await Promise.all(['a', 'c'].map((name) => startOrigin(name)))
    const b = await new RawOrigin().listen()
    b.answers = ({ target }) =>
      target === LOST.path
        ? { pieces: [], end: 'close' }
        : {
            pieces: ['HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{"instance":"b"}'],
          }
    cleanups.push(...[a, b, c].map((one) => () => (one as RawOrigin).close()))
    const where = [a, b, c].map((one, i) => ({ name: 'abc'[i] as string, address: (one as RawOrigin).address }))
    const router = await startRouter({ routes: table(1, more(where)) })
    cleanups.push(() => router.stop())
    return { router, b }
  }

  /** Its home is slot 0, and slot 1 comes next. */
  function keyOfSlot0(): string {
    for (;;) {
      const key = mintKey(() => randomInt(2 ** 32), 0, SLOTS)
      if (rankSlots(digestKey(key), SLOTS)[1] === 1) return key
    }
  }
  const withKey = (key: string) => ({ headers: { cookie: `${ROUTER_COOKIE}=${key}; ${TWIN}=${key}` } })

  it('R7.1 also when a new session was sent elsewhere first', async () => {
    const { router, b } = await route((origins) => app('app', origins))
    for (let tries = 0; b.count(LOST.path) < 3; tries++) {
      expect(tries).toBeLessThan(200)
      const first = await ask(router, LOST)
      expect(first.json.instance).not.toBe('b')
      const key = cookiesOf(first)[ROUTER_COOKIE]?.value as string
      expect('abc'[homeOf(key) as number]).toBe(first.json.instance)
    }
  })

  it('R8.1 and none is given by an instance that only stood in for the one to which the session moves', async () => {
    const { router, b } = await route((origins) =>
      app(
        'app',
        origins.map((one, i) => ({ ...one, up: i !== 0 })),
      ),
    )
    const key = keyOfSlot0()
    const stoodIn = await ask(router, { ...LOST, ...withKey(key) })
    expect(b.count(LOST.path)).toBe(1)
    expect(stoodIn.json.instance).toBe('c')
    expect(stoodIn.headers['set-cookie']).toBeUndefined()
    const moved = await ask(router, withKey(key))
    expect(moved.json.instance).toBe('b')
    expect(homeOf(cookiesOf(moved)[ROUTER_COOKIE]?.value as string)).toBe(1)
  })

  it('R8.3 nor by the old home of a session that is rebalanced, where its new one loses the request', async () => {
    const { router, b } = await route((origins) =>
      app('app', origins, { rebalance: { epoch: 1, slots: [0, 1], shed: { 0: 1 } } }),
    )
    const key = keyOfSlot0()
    const stayed = await ask(router, { ...LOST, ...withKey(key) })
    expect(b.count(LOST.path)).toBe(1)
    expect(stayed.json.instance).toBe('a')
    expect(stayed.headers['set-cookie']).toBeUndefined()
    const moved = await ask(router, withKey(key))
    expect(moved.json.instance).toBe('b')
    expect(homeOf(cookiesOf(moved)[ROUTER_COOKIE]?.value as string)).toBe(1)
  })
})
