import { mkdir } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { digestKey, pickSlot } from '../../domain/affinity.ts'
import { ROUTER_COOKIE } from '../../domain/product.ts'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { ask, cookiesOf } from './support/client.ts'
import { startControl, type TestControl } from './support/control.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

const sorted = (counts: Record<string, number> = {}) => Object.entries(counts).sort()

/** A key whose home is the first of two slots. */
const keyOfA = Array.from({ length: 50 }, (_, i) => `k${i}`).find(
  (key) => pickSlot(digestKey(key), [0, 1]) === 0,
) as string

type Status = { ready: boolean; stale: boolean; processes: number; acknowledged: { version: number } }

describe('a router of a control plane', () => {
  let origins: [Origin, Origin]
  let control: TestControl
  let router: RouterProcess | null

  beforeEach(async () => {
    origins = [await startOrigin('a'), await startOrigin('b')]
    control = await startControl(table(1, app('app', origins)))
    router = null
  })
  afterEach(async () => {
    await router?.stop()
    await control.close()
    await Promise.all(origins.map((origin) => origin.close()))
  })
  const start = async (args: string[] = ['--processes', '2'], dir?: string) => {
    router = await startRouter({ control, args, dir })
    return router
  }
  const acknowledged = (version: number) => until(() => control.last()?.version === version)

  it('D7 serves the first table of the stream, reports it and gives its address', async () => {
    const router = await start()
    await acknowledged(1)
    expect(control.last()).toMatchObject({ router: 'test', inventory: 'test', processes: 2, address: router.url })
    expect((await ask(router)).status).toBe(200)
    await until(async () => ((await router.admin('/status')) as Status).ready)
  })

  it('D7 acknowledges a table only when every process has applied it', async () => {
    const router = await start()
    await acknowledged(1)
    const [stopped] = await router.workers()
    process.kill(stopped as number, 'SIGSTOP')
    control.publish(table(2, app('app', origins)))
    // The reports go on, with the old version.
    const before = control.reports.length
    await until(() => control.reports.length > before)
    expect(control.last()?.version).toBe(1)
    process.kill(stopped as number, 'SIGCONT')
    await acknowledged(2)
  })

  it('D7 a process that hangs is replaced and holds up an acknowledgement for seconds only', async () => {
    const router = await start()
    await acknowledged(1)
    const [stopped] = await router.workers()
    process.kill(stopped as number, 'SIGSTOP')
    control.publish(table(2, app('app', origins)))
    await acknowledged(2)
    expect(await router.workers()).not.toContain(stopped)
    await until(async () => ((await router.admin('/status')) as Status).processes === 2)
  })

  it('D7 acknowledges a table only when it is on disk', async () => {
    const router = await start()
    await acknowledged(1)
    // A directory in the place of the file that is written first: works for root too.
    await mkdir(`${router.dir}/state/routes.json.new`)
    control.publish(table(2, app('app', origins.slice(0, 1))))
    await until(async () => 'state' in ((await router.admin('/status')) as { problems: object }).problems)
    // It is in force all the same.
    await until(
      async () =>
        new Set(await Promise.all([1, 2, 3, 4].map(async () => (await ask(router)).json.instance))).size === 1,
    )
    const reports = control.reports.length
    await until(() => control.reports.length > reports + 1)
    expect(control.last()?.version).toBe(1)
    await removeTree(`${router.dir}/state/routes.json.new`)
    await acknowledged(2)
  })

  it('D7 a report follows a change at once, not with the next heartbeat', async () => {
    await start()
    await acknowledged(1)
    const times: number[] = []
    for (let version = 2; version < 12; version++) {
      const at = performance.now()
      control.publish(table(version, app('app', origins)))
      await until(() => control.last()?.version === version)
      times.push((control.reports.find((report) => report.version === version)?.at ?? 0) - at)
    }
    times.sort((x, y) => x - y)
    expect(times[5]).toBeLessThan(300)
  })

  it('R6.2 a draining endpoint gets no new request, finishes those in flight, and its last one is reported at once', async () => {
    const router = await start()
    await acknowledged(1)
    const held = Array.from({ length: 12 }, (_, key) =>
      ask(router, { path: '/hold', headers: { 'x-routing-key': `key ${key}` } }),
    )
    await until(
      () =>
        origins.every((origin) => origin.seen.length >= 2) && origins[0].seen.length + origins[1].seen.length === 12,
    )
    const before = origins[0].seen.length
    const rows = app('app', origins)
    for (const endpoint of rows.endpoints) if (endpoint.instance === 'a') endpoint.state = 'draining'
    control.publish(table(2, rows))
    await acknowledged(2)
    expect(control.last()?.inFlight.a).toBe(before)
    for (let i = 0; i < 10; i++) expect((await ask(router)).json.instance).toBe('b')
    for (const answer of origins.flatMap((origin) => origin.held)) answer()
    const answers = await Promise.all(held)
    const ended = performance.now()
    expect(answers.map((answer) => answer.status)).toEqual(new Array(12).fill(200))
    expect(origins[0]?.seen.length).toBe(before)
    await until(() => control.last()?.inFlight.a === undefined)
    const report = control.reports.find((one) => one.version === 2 && one.inFlight.a === undefined)
    expect((report?.at ?? 0) - ended).toBeLessThan(1000)
  })

  it('R6.2 the end of a drain is reported at once every time, not with the heartbeat that comes every two seconds', async () => {
    const router = await start(['--processes', '1'])
    await acknowledged(1)
    const lags: number[] = []
    for (let version = 2; lags.length < 6; version += 2) {
      const slow = ask(router, { path: '/slow?ms=300', headers: { 'x-routing-key': keyOfA } })
      await until(() => origins[0].seen.at(-1)?.url.startsWith('/slow') && router)
      const rows = app('app', origins)
      for (const endpoint of rows.endpoints) if (endpoint.instance === 'a') endpoint.state = 'draining'
      control.publish(table(version, rows))
      await slow
      const ended = performance.now()
      await until(() => control.last()?.version === version && control.last()?.inFlight.a === undefined)
      lags.push(performance.now() - ended)
      origins[0].seen.length = 0
      control.publish(table(version + 1, app('app', origins)))
      await acknowledged(version + 1)
    }
    expect(Math.max(...lags)).toBeLessThan(1200)
  })

  it('R12.10 one that is not counted synchronises by itself and reports again', async () => {
    await start()
    await acknowledged(1)
    const streams = control.streams
    // A table that was published while the router did not hear: as after a restart of the control plane.
    control.dead = true
    control.publish(table(5, app('app', origins)))
    control.dead = false
    await acknowledged(5)
    expect(control.streams).toBeGreaterThan(streams)
  })

  it('R12.10 one behind a slow line synchronises too, however long the table takes to arrive', {
    timeout: 60_000,
  }, async () => {
    const current = table(3, app('app', origins), ...Array.from({ length: 400 }, (_, i) => app(`filler-${i}`, [])))
    control.publish(current)
    const bytesPerSecond = 20_000
    // Several reports are due before it is there.
    expect(JSON.stringify(current).length / bytesPerSecond).toBeGreaterThan(4)
    const line = await slowLine(Number(new URL(control.url).port), bytesPerSecond)
    try {
      router = await startRouter({
        control: { ...control, url: `http://127.0.0.1:${line.port}` },
        args: ['--processes', '1'],
      })
      await until(() => control.last()?.version === 3, 45_000)
      // A machine that stands still for seconds may cost one.
      expect(control.streams).toBeLessThanOrEqual(2)
      expect((await ask(router)).status).toBe(200)
    } finally {
      await router?.stop()
      router = null
      line.close()
    }
  })

  /** Passes on what the control plane says at so many bytes a second, each connection for itself. */
  async function slowLine(to: number, bytesPerSecond: number): Promise<{ port: number; close(): void }> {
    const ends = new Set<Socket>()
    const server = createServer((client) => {
      const upstream = connect(to, '127.0.0.1')
      for (const end of [client, upstream]) {
        ends.add(end)
        end.on('error', () => undefined)
        end.on('close', () => {
          client.destroy()
          upstream.destroy()
          ends.delete(end)
        })
      }
      client.pipe(upstream)
      let owed: Buffer = Buffer.alloc(0)
      upstream.on('data', (chunk) => {
        owed = Buffer.concat([owed, chunk])
        upstream.pause()
      })
      const pump = setInterval(() => {
        client.write(owed.subarray(0, bytesPerSecond / 10))
        owed = owed.subarray(bytesPerSecond / 10)
        if (owed.length === 0) upstream.resume()
      }, 100)
      client.on('close', () => clearInterval(pump))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return {
      port: (server.address() as AddressInfo).port,
      close: () => {
        server.close()
        for (const end of ends) end.destroy()
      },
    }
  }

  it('R12.4 R12.10 traffic goes on while the control plane is dead, and the router says that it may be stale', async () => {
    const router = await start()
    await acknowledged(1)
    control.dead = true
    for (let i = 0; i < 50; i++) expect((await ask(router)).status).toBe(200)
    await until(async () => ((await router.admin('/status')) as Status).stale, 15_000)
    expect((await router.admin('/metrics')) as string).toContain('coppice_router_stale 1')
    expect((await ask(router)).status).toBe(200)
    control.dead = false
    await until(async () => !((await router.admin('/status')) as Status).stale)
  })

  it('R12.3 after SIGKILL it serves its last table from disk, also with nobody to ask', async () => {
    const first = await start()
    await acknowledged(1)
    const keys = Array.from({ length: 20 }, (_, i) => `key-${i}`)
    const where = async (at: RouterProcess) =>
      Promise.all(keys.map(async (key) => (await ask(at, { headers: { 'x-routing-key': key } })).json.instance))
    const before = await where(first)
    await first.kill()
    control.dead = true
    router = await startRouter({
      control,
      args: ['--processes', '2', '--listen', `127.0.0.1:${first.port}`],
      dir: first.dir,
    })
    expect(await where(router)).toEqual(before)
    // How long that takes is a matter for measurements (docs/ARCHITECTURE.md), not for a test on a shared machine.
    expect(((await router.admin('/status')) as Status).ready).toBe(false)
    control.dead = false
    await until(async () => ((await (router as RouterProcess).admin('/status')) as Status).ready)
  })

  it('R8.3 reports sessions by instance, and how many a rebalance moved, each once though its requests came at once', async () => {
    const router = await start()
    await acknowledged(1)
    const keys: string[] = []
    const where: Record<string, number> = {}
    for (let i = 0; i < 40; i++) {
      const first = await ask(router)
      const key = cookiesOf(first)[ROUTER_COOKIE]?.value as string
      const again = await ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${key}` } })
      where[again.json.instance] = (where[again.json.instance] ?? 0) + 1
      if (again.json.instance === 'a') keys.push(key)
    }
    await until(() => JSON.stringify(sorted(control.last()?.sessions)) === JSON.stringify(sorted(where)), 15_000)
    control.publish(table(2, app('app', origins, { rebalance: { epoch: 3, slots: [0, 1], shed: { '0': 1 } } })))
    await acknowledged(2)
    await Promise.all(
      keys.flatMap((key) => [1, 2, 3].map(() => ask(router, { headers: { cookie: `${ROUTER_COOKIE}=${key}` } }))),
    )
    await until(() => control.last()?.rebalanced['app/3'] === keys.length)
    await until(() => control.last()?.sessions.b === 40, 15_000)
    expect(control.last()?.sessions.a).toBeUndefined()
    // Of what the table does not name any more nobody wants to know.
    control.publish(table(3, app('app', origins)))
    await acknowledged(3)
    expect(control.last()?.rebalanced).toEqual({})
  })

  it('D7 signs off when it is stopped, with the version on its disk, which it will serve when it comes back', async () => {
    const first = await start()
    await acknowledged(1)
    control.publish(table(2, app('app', origins.slice(0, 1))))
    await acknowledged(2)
    first.child.kill('SIGTERM')
    expect(await first.exited).toBe(0)
    expect(control.removed).toEqual([])
    expect(control.signedOff).toMatchObject([
      { router: 'test', inventory: 'test', version: 2, inFlight: {}, leaving: true },
    ])
    // The last word it was.
    expect(control.last()?.leaving).toBe(true)
    control.dead = true
    router = await startRouter({ control, args: ['--processes', '1'], dir: first.dir })
    expect((await ask(router)).json.instance).toBe('a')
    control.dead = false
  })

  it('is forgotten when it is stopped without a table that it could come back with', async () => {
    control.dead = true
    const router = await start()
    control.dead = false
    control.publish({ protocol: 99, inventory: 'test', version: 1 })
    await until(() => control.last()?.refused)
    expect(await router.stop()).toBe(0)
    expect([control.removed, control.signedOff]).toEqual([['test'], []])
  })

  it('R14.2 takes a table with fields that only a newer router knows, in every part of it', async () => {
    const router = await start()
    const newer = {
      ...table(2, app('app', origins, { rebalance: { epoch: 1, slots: [0, 1], shed: {} } })),
      news: { a: 1 },
    }
    for (const row of newer.apps) {
      Object.assign(row, { news: [1] })
      Object.assign(row.rebalance as object, { news: 'x' })
      for (const endpoint of row.endpoints) Object.assign(endpoint, { news: null })
    }
    control.publish(newer)
    await acknowledged(2)
    expect(control.last()?.refused).toBeNull()
    expect((await ask(router)).status).toBe(200)
  })

  it('R14.2 R13.8 says that it cannot apply a table of a newer program, serves its last one, and takes the next that it can', async () => {
    const router = await start()
    await acknowledged(1)
    const streams = control.streams
    const unusable = [
      { ...table(2), protocol: 2 },
      { ...table(3), apps: [{ ...app('app', origins), status: 'dreaming' }] },
    ]
    for (const next of unusable) {
      control.publish(next)
      await until(() => control.last()?.refused?.version === next.version)
      expect(control.last()?.version).toBe(1)
      expect((await ask(router)).status).toBe(200)
      const { problems } = (await router.admin('/status')) as { problems: Record<string, string> }
      expect(problems.table).toContain(`table ${next.version} cannot be applied here`)
    }
    // It would be refused again: so it is not asked for again and again.
    const reports = control.reports.length
    await until(() => control.reports.length > reports + 1)
    expect(control.streams).toBe(streams)
    control.publish(table(4, app('app', origins.slice(1))))
    await acknowledged(4)
    expect(control.last()?.refused).toBeNull()
    expect((await router.admin('/status')) as object).toMatchObject({ problems: {} })
    expect((await ask(router)).json.instance).toBe('b')
  })
})
