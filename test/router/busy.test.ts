import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { isMinted } from '../../domain/affinity.ts'
import { ROUTER_COOKIE } from '../../domain/product.ts'
import type { RouteTable } from '../../domain/route-table.ts'
import { type Answer, ask, cookiesOf } from './support/client.ts'
import { type OriginProcess, spawnOrigin } from './support/origin-process.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

/**
 * R12.2: an instance whose event loop is blocked is not dead. Three real processes, one of which does nothing for
 * seconds while it works on somebody's request.
 */
describe('an instance that is busy', () => {
  const cleanups: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  })

  type Stage = {
    router: RouterProcess
    origins: OriginProcess[]
    /** A cookie of a session at home in slot 1. */
    session: string
    status(): Promise<{ down: string[]; busy: string[] }>
  }
  async function stage(silenceMs: number): Promise<Stage> {
    const origins = await Promise.all([0, 1, 2].map((i) => spawnOrigin(`i${i}`)))
    cleanups.push(() => Promise.all(origins.map((one) => one.end())))
    const routes: RouteTable = table(1, app('app', origins, { silenceMs }))
    const router = await startRouter({ routes })
    cleanups.push(() => router.stop())
    const session = await until(async () => {
      const answer = await ask(router)
      return answer.json.instance === 'i1' && cookiesOf(answer)[ROUTER_COOKIE]?.value
    })
    return { router, origins, session: session as string, status: () => router.admin('/status') }
  }
  /** A path that blocks an instance until it is told; a time would be too short on a busy machine. */
  async function releaser(): Promise<{ path: string; now(): Promise<void> }> {
    const folder = await mkdtemp(join(tmpdir(), 'coppice-release-'))
    cleanups.push(() => rm(folder, { recursive: true }))
    const file = join(folder, 'now')
    return { path: `/block?until=${encodeURIComponent(file)}`, now: () => writeFile(file, '') }
  }
  const inSession = (router: RouterProcess, key: string, path = '/', method = 'GET') =>
    ask(router, { method, path, headers: { cookie: `${ROUTER_COOKIE}=${key}` } })
  /** What the instances got, asked directly. */
  async function executions(origins: OriginProcess[], what: string): Promise<number> {
    const all = await Promise.all(
      origins.map(async ({ address }) => (await (await fetch(`http://${address}/seen`)).json()) as { seen: string[] }),
    )
    return all.flatMap(({ seen }) => seen).filter((one) => one === what).length
  }

  it('R12.2 for 6 s gets no new session, keeps those it has, and runs nothing twice', async () => {
    const { router, origins, session, status } = await stage(15_000)
    const blocked = inSession(router, session, '/block?ms=6000')
    const behind = inSession(router, session, '/behind')
    await until(async () => (await status()).busy.join() === 'i1')
    const others: Answer[] = []
    const startedAt = performance.now()
    while (performance.now() - startedAt < 2_000) others.push(await ask(router))
    expect(others.filter(({ status, json }) => status !== 200 || json.instance === 'i1')).toEqual([])
    expect((await status()).down).toEqual([])
    const answers = [await blocked, await behind]
    for (const answer of answers) {
      expect([answer.status, answer.json.instance, cookiesOf(answer)[ROUTER_COOKIE]]).toEqual([200, 'i1', undefined])
    }
    await until(async () => (await status()).busy.length === 0)
    expect(await executions(origins, 'GET /block?ms=6000')).toBe(1)
    expect(await executions(origins, 'GET /behind')).toBe(1)
    const later = new Set<string>()
    await until(async () => later.add((await ask(router)).json.instance).size === 3)
  })

  it('R12.2 past its own limit loses its sessions, but keeps what is in flight, which never runs a second time', async () => {
    const { router, origins, session, status } = await stage(3_000)
    const blocked = inSession(router, session, '/block?ms=9000')
    const behind = inSession(router, session, '/behind')
    await until(async () => (await status()).down.join() === 'i1')
    const moved = await inSession(router, session)
    expect([moved.status, moved.json.instance]).toEqual([200, expect.not.stringMatching('i1')])
    expect(isMinted(cookiesOf(moved)[ROUTER_COOKIE]?.value ?? '')).toBe(true)
    for (const answer of [await blocked, await behind]) {
      expect([answer.status, answer.json.instance]).toEqual([200, 'i1'])
    }
    await until(async () => (await status()).down.length === 0)
    expect(await executions(origins, 'GET /block?ms=9000')).toBe(1)
    expect(await executions(origins, 'GET /behind')).toBe(1)
  })

  it('R12.2 is back with the first byte of its answer: whoever was given that is at home there with the next request', async () => {
    const { router, session, status } = await stage(1_500)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    cleanups.push(async () => agent.destroy())
    const inTurn = (path: string) =>
      ask(router, { path, agent, headers: { cookie: `${ROUTER_COOKIE}=${session}` } }).then(({ json }) => json.instance)
    for (let n = 0; n < 3; n++) {
      const blocked = inTurn('/block?ms=4000')
      await until(async () => (await status()).down.join() === 'i1')
      expect(await blocked).toBe('i1')
      expect(await inTurn('/')).toBe('i1')
      // Not a moment's mistake: it stays so.
      await until(async () => (await status()).down.length === 0)
      expect(await inTurn('/')).toBe('i1')
    }
  })

  it('R12.2 that dies after it was given up takes what it had with it: nothing of that runs a second time', async () => {
    const { router, origins, session, status } = await stage(2_000)
    const victim = origins[1] as OriginProcess
    const blocked = inSession(router, session, '/block?ms=60000')
    await until(async () => (await status()).down.join() === 'i1')
    await victim.end()
    expect([(await blocked).status, (await blocked).headers['x-coppice-router']]).toEqual([502, 'UpstreamFailed'])
    expect(await executions([origins[0], origins[2]] as OriginProcess[], 'GET /block?ms=60000')).toBe(0)
  })

  it('R12.2 a request that stops everybody who gets it stops two at most, and never more than half are given up for it', async () => {
    const { router, origins, session, status } = await stage(2_000)
    const release = await releaser()
    const first = inSession(router, session, release.path)
    await until(async () => (await status()).down.join() === 'i1')
    // Its user tries again, and lands elsewhere.
    const moved = await inSession(router, session)
    const key = cookiesOf(moved)[ROUTER_COOKIE]?.value as string
    const second = inSession(router, key, release.path)
    const victim = moved.json.instance as string
    await until(async () => (await status()).busy.length === 2)
    await until(async () => (await status()).down.length === 0)
    await release.now()
    expect((await second).json.instance).toBe(victim)
    expect((await first).json.instance).toBe('i1')
    expect(await executions(origins, `GET ${release.path}`)).toBe(2)
  })

  it('R12.2 whoever is silent and not given up, because too many are, takes what it had with it all the same', async () => {
    const { router, origins, session, status } = await stage(2_000)
    const release = await releaser()
    const first = inSession(router, session, release.path)
    await until(async () => (await status()).down.join() === 'i1')
    const moved = await inSession(router, session)
    const victim = moved.json.instance as string
    const second = inSession(router, cookiesOf(moved)[ROUTER_COOKIE]?.value as string, '/block?ms=60000')
    await until(async () => (await status()).busy.length === 2)
    await until(async () => (await status()).down.length === 0)
    await origins[Number(victim.slice(1))]?.end()
    expect([(await second).status, (await second).headers['x-coppice-router']]).toEqual([502, 'UpstreamFailed'])
    await release.now()
    expect((await first).json.instance).toBe('i1')
    const living = origins.filter((_, i) => `i${i}` !== victim)
    expect(await executions(living, 'GET /block?ms=60000')).toBe(0)
  })

  it('R12.2 an answer that cannot be parsed is not asked for a second time', async () => {
    const { router, origins } = await stage(15_000)
    const answer = await ask(router, { path: '/garbage' })
    expect([answer.status, answer.headers['x-coppice-router']]).toEqual([502, 'UpstreamFailed'])
    expect(await executions(origins, 'GET /garbage')).toBe(1)
  })

  it('R12.2 no request runs more than twice, however many instances lose it', async () => {
    const { router, origins } = await stage(15_000)
    expect((await ask(router, { path: '/drop' })).status).toBe(502)
    expect(await executions(origins, 'GET /drop')).toBe(2)
  })

  // Node's own HTTP server sends the answer first, and looks after its idle connections then.
  it.each([
    ['before', 6_000],
    ['behind', 6_000],
    // Too short for anybody to call it busy.
    ['behind', 1_500],
  ])(
    'R12.2 whose connections have grown too old meanwhile, closed %s its answer after %i ms, is asked again on new ones, and moves nobody',
    async (when, ms) => {
      const { router, origins, session } = await stage(15_000)
      const key = { 'x-routing-key': session }
      const idle = () => ask(router, { headers: key })
      // As many connections to it as there will be requests behind the one that blocks it.
      const victim = (await idle()).json.instance as string
      await Promise.all(Array.from({ length: 8 }, () => ask(router, { path: '/slow?ms=100', headers: key })))
      const blocked = ask(router, { path: `/block?ms=${ms}&close=${when}`, headers: key })
      const behind = Array.from({ length: 6 }, (_, i) => ask(router, { path: `/behind-${i}`, headers: key }))
      for (const answer of await Promise.all([blocked, ...behind])) {
        expect([answer.status, answer.json.instance]).toEqual([200, victim])
      }
      for (const i of behind.keys()) expect(await executions(origins, `GET /behind-${i}`)).toBe(1)
    },
  )

  it('R12.2 is noticed within seconds by what its WebSockets say to it, though nobody asks for anything else', async () => {
    const { router, origins, session, status } = await stage(15_000)
    const release = await releaser()
    const ws = new WebSocket(`ws://127.0.0.1:${router.port}/`, {
      headers: { host: 'app.localhost', cookie: `${ROUTER_COOKIE}=${session}` },
    })
    cleanups.push(async () => ws.terminate())
    const heard: string[] = []
    ws.on('message', (data) => heard.push(String(data)))
    await until(() => heard.length === 1)
    // Not by way of the router, which has no request for it.
    const blocked = fetch(`http://${origins[1]?.address}${release.path}`)
    // Some of it may still be answered.
    await until(async () => {
      ws.send('click')
      return (await status()).busy.join() === 'i1'
    })
    expect((await status()).down).toEqual([])
    await release.now()
    await blocked
    ws.send('last')
    await until(() => heard.at(-1) === 'last')
    await until(async () => (await status()).busy.length === 0)
  })

  it('R12.2 who answers requests is asked nothing', async () => {
    const { router, origins } = await stage(15_000)
    const startedAt = performance.now()
    while (performance.now() - startedAt < 5_000) await ask(router)
    for (const { address } of origins) {
      const { seen, checks } = (await (await fetch(`http://${address}/seen`)).json()) as {
        seen: string[]
        checks: number
      }
      expect(seen.length).toBeGreaterThan(10)
      expect(checks).toBe(0)
    }
  })
})
