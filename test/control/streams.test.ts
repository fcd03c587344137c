import { appendFile, mkdir, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { HistoryEvent } from '../../domain/records.ts'
import { type RouteTable, routeTableSchema } from '../../domain/route-table.ts'
import { readEvents, type StreamedEvent, startTestControl, type TestControl } from './control.ts'

let control: TestControl

beforeAll(async () => {
  control = await startTestControl()
})
afterAll(() => control?.stop())

/** Opens a stream; it is closed with the signal. */
async function open(path: string, headers: Record<string, string> = {}) {
  const gone = new AbortController()
  const answer = await control.raw(path, { headers, signal: gone.signal })
  const events = readEvents(answer)
  const next = async (): Promise<Extract<StreamedEvent, { event: string }>> => {
    for (;;) {
      const { value, done } = await events.next()
      if (done) throw new Error('the stream has ended')
      if ('event' in value && value.event === 'error') throw new Error(JSON.stringify(value.data))
      if ('event' in value) return value
    }
  }
  const nextTable = async (): Promise<RouteTable> => {
    for (;;) {
      const { event, data } = await next()
      if (event === 'table') return routeTableSchema.parse(data)
    }
  }
  return { answer, events, next, nextTable, close: () => gone.abort() }
}

const report = (version: number, inventory: string) => ({
  router: 'r1',
  incarnation: 'i1',
  inventory,
  version,
  inFlight: {},
  processes: 2,
  address: 'http://127.0.0.1:18080',
})

describe('D7 the stream of route tables', () => {
  it('sends the whole table at once and again after every change of its version, never one version twice', async () => {
    const stream = await open('/api/coppice/v1/routes/stream?router=r1')
    expect(stream.answer.headers.get('content-type')).toContain('text/event-stream')
    const first = await stream.nextTable()
    await control.call('POST', '/api/2.0/apps', { name: 'one' })
    // No change of a route: no table.
    await control.call('PATCH', '/api/2.0/apps/one', { description: 'x' })
    await control.call('POST', '/api/2.0/apps', { name: 'two' })
    const tables: RouteTable[] = [first]
    while (tables.at(-1)?.apps.length !== 2) tables.push(await stream.nextTable())
    stream.close()
    const versions = tables.map((table) => table.version)
    expect(versions).toEqual([...new Set(versions)].sort((a, b) => a - b))
    expect(tables.at(-1)).toMatchObject({
      inventory: control.store.inventory,
      apps: [{ hostnames: ['one.localhost'] }, { hostnames: ['two.localhost'] }],
    })
  })

  it('says at least every 2 s that it lives', async () => {
    const stream = await open('/api/coppice/v1/routes/stream?router=r1')
    await stream.next()
    const from = performance.now()
    for (let heard = 0; heard < 2; ) if ('comment' in (await stream.events.next()).value) heard++
    stream.close()
    expect(performance.now() - from).toBeLessThan(4_000)
  })

  it('counts a router that reports the current version, and tells one that lags what is current', async () => {
    const version = await control.store.routes.version()
    const behind = await control.call(
      'POST',
      '/api/coppice/v1/routers/report',
      report(version - 1, control.store.inventory),
    )
    expect(behind.body).toMatchObject({ counted: false, version, inventory: control.store.inventory, leaseMs: 10_000 })
    const current = await control.call(
      'POST',
      '/api/coppice/v1/routers/report',
      report(version, control.store.inventory),
    )
    expect(current.body.counted).toBe(true)
    const { body } = await control.call('GET', '/api/coppice/v1/routers')
    expect(body.routers).toMatchObject([{ name: 'r1', counted: true, behind: false }])
  })

  it('shows apps at the address that the router reported', async () => {
    const { body } = await control.call('GET', '/api/2.0/apps/one')
    expect(body.url).toBe('http://one.localhost:18080')
  })

  it('R13.8 tells of a router that cannot apply the current table, and of one that has signed off', async () => {
    const { store } = control
    const ask = async () => {
      const { body } = await control.call('GET', '/api/coppice/v1/doctor')
      const known = await control.call('GET', '/api/coppice/v1/routers')
      return {
        check: (body.checks as Array<{ name: string }>).find(({ name }) => name === 'router'),
        router: (known.body.routers as unknown[])[0],
      }
    }
    const version = await store.routes.version()
    const refused = { version, reason: 'protocol: is of a newer program' }
    const tell = (more: object) =>
      control.call('POST', '/api/coppice/v1/routers/report', { ...report(version - 1, store.inventory), ...more })
    // A field of a newer router besides, which is none of this program's business.
    expect((await tell({ refused, news: 1 })).body.counted).toBe(false)
    expect(await ask()).toMatchObject({
      check: { ok: false, message: expect.stringMatching(/^r1 at .* cannot apply the current routes.*newer program$/) },
      router: { name: 'r1', counted: false, away: false, refused },
    })
    await tell({ leaving: true })
    expect(await ask()).toMatchObject({
      check: { ok: false, message: expect.stringMatching(/^r1 at .* signed off \d+ s ago$/) },
      router: { counted: false, away: true, refused: null },
    })
  })

  it('forgets a router that an operator removes, once', async () => {
    expect((await control.call('DELETE', '/api/coppice/v1/routers/r1')).status).toBe(200)
    expect((await control.call('DELETE', '/api/coppice/v1/routers/r1')).status).toBe(404)
  })
})

describe('R9.3 events', () => {
  it("are sent as they happen, one app's alone when asked, and go on after the last one that was seen", async () => {
    const live = await open('/api/coppice/v1/events?app=three')
    await control.call('POST', '/api/2.0/apps', { name: 'other' })
    await control.call('POST', '/api/2.0/apps', { name: 'three' })
    const created = await live.next()
    live.close()
    expect(created.event).toBe('app')
    expect(created.data as HistoryEvent).toMatchObject({ app: 'three', message: 'App three was created' })

    await control.store.events.add({ app: 'three', kind: 'crashed', message: 'while nobody looked' })
    const resumed = await open('/api/coppice/v1/events?app=three&after=0', { 'last-event-id': created.id })
    expect((await resumed.next()).data).toMatchObject({ message: 'while nobody looked' })
    resumed.close()
  })

  it('give the whole history of an app, in its order, however long it is', async () => {
    for (let n = 0; n < 1200; n++) await control.store.events.add({ app: 'busy', kind: 'step', message: `${n}` })
    const stream = await open('/api/coppice/v1/events?app=busy&after=0')
    const seen: string[] = []
    while (seen.length < 1200) seen.push(((await stream.next()).data as HistoryEvent).message)
    stream.close()
    expect(seen).toEqual(Array.from({ length: 1200 }, (_, n) => `${n}`))
  })
})

describe('logs', () => {
  const ID = 'one-0123abcd-0'
  const file = () => join(control.home, 'logs', 'instances', `${ID}.log`)
  beforeAll(async () => {
    await mkdir(join(control.home, 'logs', 'instances'), { recursive: true })
    await writeFile(file(), 'first\nsecond\nthird\n')
    await writeFile(join(control.home, 'logs', 'instances', 'one-more-0123abcd-0.log'), 'of another app\n')
  })

  it('show the last lines of each instance of the app, also of one that is gone, and of no other app', async () => {
    const { body } = await control.call('GET', '/api/coppice/v1/apps/one/logs?lines=2')
    expect(body.instances).toEqual([{ instance: ID, lines: ['second', 'third'] }])
  })

  it('R13.4 never lead out of the logs or into those of another app', async () => {
    for (const name of ['../../../token', '..%2f..%2ftoken', 'one-more-0123abcd-0', 'two-0123abcd-0']) {
      const answer = await control.call('GET', `/api/coppice/v1/apps/one/logs?instance=${encodeURIComponent(name)}`)
      expect(answer.status).toBe(404)
    }
  })

  it('follow a line that was half written at the start, once and whole', async () => {
    const half = join(control.home, 'logs', 'instances', 'one-0123abcd-1.log')
    await writeFile(half, 'whole\nhal')
    const stream = await open('/api/coppice/v1/apps/one/logs?follow=true&lines=5&instance=one-0123abcd-1')
    const line = async () => ((await stream.next()).data as { line: string }).line
    expect(await line()).toBe('whole')
    await appendFile(half, 'f\nnext\n')
    expect([await line(), await line()]).toEqual(['half', 'next'])
    stream.close()
    await rm(half)
  })

  it('follow what is written, also past a rotation', async () => {
    const stream = await open(`/api/coppice/v1/apps/one/logs?follow=true&lines=1&instance=${ID}`)
    const line = async () => ((await stream.next()).data as { line: string }).line
    expect(await line()).toBe('third')
    await appendFile(file(), 'four')
    await appendFile(file(), 'th\nfifth\n')
    expect([await line(), await line()]).toEqual(['fourth', 'fifth'])
    await truncate(file(), 0)
    await appendFile(file(), 'anew\n')
    expect(await line()).toBe('anew')
    stream.close()
  })
})

it('a stop ends every stream at once and keeps nobody waiting', async () => {
  const own = await startTestControl()
  const answer = await own.raw('/api/coppice/v1/routes/stream?router=r')
  const ended = (async () => {
    for await (const _ of readEvents(answer));
  })()
  const from = performance.now()
  await own.stop()
  await ended.catch(() => {})
  expect(performance.now() - from).toBeLessThan(2_000)
})
