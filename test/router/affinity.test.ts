import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { digestKey, isMinted, pickSlot } from '../../domain/affinity.ts'
import { loopbackCookie, ROUTER_COOKIE } from '../../domain/product.ts'
import { ask, cookiesOf, sent } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

const TWIN = loopbackCookie('app')

describe('session affinity', () => {
  let origins: Origin[]
  let router: RouterProcess
  const all = (more = {}) => app('app', origins, more)

  beforeAll(async () => {
    origins = await Promise.all(['a', 'b', 'c'].map((name) => startOrigin(name)))
    router = await startRouter({
      routes: table(1, all(), app('plain', origins.slice(0, 1), { affinity: false })),
      args: ['--processes', '2'],
    })
  })
  afterAll(async () => {
    await router?.stop()
    await Promise.all(origins.map((origin) => origin.close()))
  })

  it('R7.1 sends a new browser to a random instance and keeps it there by the cookie', async () => {
    const instances = new Set<string>()
    for (let browser = 0; browser < 30; browser++) {
      const first = await ask(router)
      const key = cookiesOf(first)[ROUTER_COOKIE]?.value as string
      instances.add(first.json.instance)
      for (let i = 0; i < 3; i++) {
        const next = await ask(router, { headers: { cookie: `theme=dark; ${ROUTER_COOKIE}=${key}` } })
        expect(next.json.instance).toBe(first.json.instance)
        expect(next.headers['set-cookie']).not.toContainEqual(expect.stringContaining(ROUTER_COOKIE))
      }
    }
    expect([...instances].sort()).toEqual(['a', 'b', 'c'])
  })

  it('R7.4 the cookie is a session cookie with the attributes that __Host- demands, and the answer is private', async () => {
    const first = await ask(router, { path: '/headers' })
    const cookie = cookiesOf(first)[ROUTER_COOKIE]
    expect(cookie?.attributes.sort()).toEqual(['HttpOnly', 'Path=/', 'SameSite=Lax', 'Secure'])
    expect(isMinted(cookie?.value as string)).toBe(true)
    expect(first.headers['cache-control']).toBe('private, max-age=60')
    // The cookies of the app itself are still there.
    expect(Object.keys(cookiesOf(first))).toEqual(expect.arrayContaining(['a', 'b']))
    const again = await ask(router, {
      path: '/headers',
      headers: { cookie: `${ROUTER_COOKIE}=${cookie?.value}; ${TWIN}=${cookie?.value}` },
    })
    expect(again.headers['cache-control']).toBe('public, max-age=60')
  })

  it('R7.4 on plain http on loopback a twin without Secure works alone and names its app', async () => {
    const first = await ask(router)
    const twin = cookiesOf(first)[TWIN]
    expect(twin?.attributes.sort()).toEqual(['HttpOnly', 'Path=/', 'SameSite=Lax'])
    for (let i = 0; i < 5; i++) {
      const next = await ask(router, { headers: { cookie: `${TWIN}=${twin?.value}` } })
      expect(next.json.instance).toBe(first.json.instance)
      expect(next.headers['set-cookie']).toBeUndefined()
    }
  })

  it('R7.4 strips its cookies before the app sees the request, and nothing else', async () => {
    const key = randomUUID()
    const answer = await ask(router, {
      headers: {
        cookie: `a=1; ${ROUTER_COOKIE}=${key}; b=2; ${TWIN}=${key}; ${loopbackCookie('plain')}=${key}; c="3;4"`,
      },
    })
    expect(sent(answer, 'cookie').join('; ').replaceAll('; ', ';')).toBe('a=1;b=2;c="3;4"')
    const only = await ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${key}` } })
    expect(sent(only, 'cookie')).toEqual([])
    const none = await ask(router, { host: 'plain.localhost', headers: { cookie: `${ROUTER_COOKIE}=${key}; x=1` } })
    expect(sent(none, 'cookie').join()).toBe('x=1')
  })

  it('R7.2 all requests with a key that a client chose go to the slot that arithmetic gives, and it gets no cookie', async () => {
    for (let i = 0; i < 20; i++) {
      const key = randomUUID()
      const slot = pickSlot(digestKey(key), [0, 1, 2])
      for (const value of [key, key.toUpperCase()]) {
        const answer = await ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${value}` } })
        expect(answer.json.instance).toBe(origins[slot]?.name)
        expect(answer.headers['set-cookie']).toBeUndefined()
      }
    }
  })

  it('R7.2 X-Routing-Key does the same and wins over the cookie', async () => {
    for (let i = 0; i < 20; i++) {
      const key = `tenant-${i}`
      const slot = pickSlot(digestKey(key), [0, 1, 2])
      const answer = await ask(router, {
        method: 'POST',
        body: 'x',
        headers: { 'x-routing-key': key, cookie: `${ROUTER_COOKIE}=${randomUUID()}` },
      })
      expect(answer.json.instance).toBe(origins[slot]?.name)
      expect(answer.headers['set-cookie']).toBeUndefined()
    }
  })

  it('R7.4 a malformed cookie counts as absent, and the first well-formed one of several counts', async () => {
    const bad = await ask(router, { headers: { cookie: `${ROUTER_COOKIE}=nonsense` } })
    expect(cookiesOf(bad)[ROUTER_COOKIE]).toBeDefined()
    expect(sent(bad, 'cookie')).toEqual([])
    const key = randomUUID()
    const slot = pickSlot(digestKey(key), [0, 1, 2])
    const several = await ask(router, {
      headers: { cookie: `${ROUTER_COOKIE}=nonsense; ${ROUTER_COOKIE}=${key}; ${ROUTER_COOKIE}=${randomUUID()}` },
    })
    expect(several.json.instance).toBe(origins[slot]?.name)
  })

  it('R5.0 an app without affinity gets no cookie and keeps none', async () => {
    const answer = await ask(router, { host: 'plain.localhost' })
    expect(answer.status).toBe(200)
    expect(answer.headers['set-cookie']).toBeUndefined()
  })

  it('R7.2 another router with the same table gives the same answers', async () => {
    const other = await startRouter({ routes: table(7, all()), args: ['--processes', '1'] })
    try {
      for (let i = 0; i < 20; i++) {
        const headers = { 'x-routing-key': `k${i}` }
        expect((await ask(other, { headers })).json.instance).toBe((await ask(router, { headers })).json.instance)
      }
    } finally {
      await other.stop()
    }
  })

  it('R8.1 minted sessions of a slot that drains get one new cookie each, and stay where they are when the slot returns', async () => {
    const sessions = await Promise.all(
      Array.from({ length: 24 }, async () => {
        const answer = await ask(router)
        return { key: cookiesOf(answer)[ROUTER_COOKIE]?.value as string, instance: answer.json.instance }
      }),
    )
    const draining = all()
    for (const endpoint of draining.endpoints) if (endpoint.slot === 1) endpoint.state = 'draining'
    await router.setRoutes(table(2, draining))
    const moved: { key: string; instance: string }[] = []
    for (const session of sessions) {
      // As a browser that loads a page with many parts: all of them end in one session.
      const parts = await Promise.all(
        Array.from({ length: 8 }, () => ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${session.key}` } })),
      )
      const keys = new Set(parts.map((part) => cookiesOf(part)[ROUTER_COOKIE]?.value))
      const instances = [...new Set(parts.map((part) => part.json.instance))]
      expect(instances).toHaveLength(1)
      expect(keys.size).toBe(1)
      const [key] = keys
      if (session.instance !== 'b') {
        expect([instances[0], key]).toEqual([session.instance, undefined])
        continue
      }
      expect(isMinted(key as string)).toBe(true)
      moved.push({ key: key as string, instance: instances[0] as string })
    }
    expect(moved.length).toBeGreaterThan(0)
    for (const slots of [
      [0, 2],
      [0, 1, 2],
    ]) {
      const now = all()
      now.endpoints = now.endpoints.filter((endpoint) => slots.includes(endpoint.slot))
      await router.setRoutes(table(3, now))
      for (const session of moved) {
        const answer = await ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${session.key}` } })
        expect(answer.json.instance).toBe(session.instance)
        expect(cookiesOf(answer)[ROUTER_COOKIE]).toBeUndefined()
      }
    }
  })

  it('R8.1 a key that a client chose is never replaced, wherever its slot is', async () => {
    const draining = all()
    for (const endpoint of draining.endpoints) if (endpoint.slot === 1) endpoint.state = 'draining'
    await router.setRoutes(table(4, draining))
    for (let i = 0; i < 20; i++) {
      const key = randomUUID()
      const answer = await ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${key}` } })
      expect(answer.json.instance).toBe(origins[pickSlot(digestKey(key), [0, 1, 2], (slot) => slot !== 1)]?.name)
      expect(answer.headers['set-cookie']).toBeUndefined()
    }
    await router.setRoutes(table(5, all()))
  })

  it('R8.3 a rebalance moves only minted sessions of the slots that shed, each once', async () => {
    const sessions = await Promise.all(
      Array.from({ length: 60 }, async () => {
        const answer = await ask(router)
        return { key: cookiesOf(answer)[ROUTER_COOKIE]?.value as string, instance: answer.json.instance }
      }),
    )
    const chosen = Array.from({ length: 20 }, () => randomUUID())
    const before = await Promise.all(
      chosen.map(async (key) => (await ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${key}` } })).json.instance),
    )
    await router.setRoutes(table(4, all({ rebalance: { epoch: 1, slots: [0, 1, 2], shed: { '0': 0.5 } } })))
    let moved = 0
    for (const session of sessions) {
      const answer = await ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${session.key}` } })
      const replaced = cookiesOf(answer)[ROUTER_COOKIE]?.value
      if (replaced === undefined) {
        expect(answer.json.instance).toBe(session.instance)
        continue
      }
      moved++
      expect(session.instance).toBe('a')
      expect(answer.json.instance).not.toBe('a')
      const next = await ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${replaced}` } })
      expect(next.json.instance).toBe(answer.json.instance)
      expect(cookiesOf(next)[ROUTER_COOKIE]).toBeUndefined()
    }
    expect(moved).toBeGreaterThan(0)
    expect(moved).toBeLessThan(sessions.filter((session) => session.instance === 'a').length)
    for (const [i, key] of chosen.entries()) {
      const answer = await ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${key}` } })
      expect(answer.json.instance).toBe(before[i])
      expect(answer.headers['set-cookie']).toBeUndefined()
    }
    // A session that begins now is no part of what was to be moved.
    for (let i = 0; i < 60; i++) {
      const first = await ask(router)
      const key = cookiesOf(first)[ROUTER_COOKIE]?.value as string
      const next = await ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${key}` } })
      expect([next.json.instance, cookiesOf(next)[ROUTER_COOKIE]]).toEqual([first.json.instance, undefined])
    }
    const counted = await until(async () => {
      const text = (await router.admin('/metrics')) as string
      return /sessions_moved_total\{app="app",cause="rebalance"\} (\d+)/.exec(text)?.[1] === String(moved)
    })
    expect(counted).toBe(true)
  })
})
