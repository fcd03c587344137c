import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { PROTOCOL, type RouterReport, type RouteTable } from '../domain/route-table.ts'
import { ControlLink } from './control-link.ts'

const TABLE: RouteTable = { protocol: PROTOCOL, inventory: 'x', version: 3, apps: [] }

let dir: string
let link: ControlLink
let tables: RouteTable[]
let refused: unknown[]
let words: unknown[]
let warnings: string[]
/** What was asked, as `POST /routers/report`, with its body. */
let asked: { what: string; authorization: string; body: Partial<RouterReport> }[]
let keepsTable: boolean
let stream: ReadableStreamDefaultController<Uint8Array> | null
/** Answers to reports are held until a test lets them go. */
let answerReport: () => Response | Promise<Response>
let streamStatus: number

const counted = (more: object = {}) =>
  Response.json({ protocol: PROTOCOL, counted: true, inventory: 'x', version: 3, leaseMs: 10_000, ...more })

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'coppice-link-'))
  await writeFile(join(dir, 'token'), 'secret\n')
  tables = []
  refused = []
  words = []
  warnings = []
  asked = []
  keepsTable = true
  stream = null
  answerReport = counted
  streamStatus = 200
  link = new ControlLink({
    url: 'http://control',
    tokenFile: join(dir, 'token'),
    name: 'r 1',
    log: { warn: (words: string) => warnings.push(words), info: () => undefined } as never,
    fetch: (async (url: string, init: RequestInit = {}) => {
      const path = url.replace('http://control/api/coppice/v1', '')
      const what = `${init.method ?? 'GET'} ${path}`
      const { authorization = '' } = init.headers as Record<string, string>
      asked.push({ what, authorization, body: init.body === undefined ? {} : JSON.parse(String(init.body)) })
      if (!path.startsWith('/routes/stream')) return answerReport()
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          stream = controller
          init.signal?.addEventListener('abort', () => controller.error(new Error('aborted')))
        },
      })
      return new Response(body, { status: streamStatus })
    }) as typeof fetch,
    onTable: (table) => tables.push(table),
    onRefused: (one) => refused.push(one),
    onWord: (word) => words.push(word),
    report: () =>
      ({ router: 'r 1', inventory: 'x', version: 3, inFlight: { a: 1 }, refused: null }) as unknown as RouterReport,
    keepsTable: () => keepsTable,
  })
})
afterEach(async () => {
  answerReport = counted
  await link.stop()
  await rm(dir, { recursive: true })
})

const say = (text: string) => stream?.enqueue(new TextEncoder().encode(text))
const count = (what: string) => asked.filter((one) => one.what === what).length
const REPORT = 'POST /routers/report'
const soon = { timeout: 5_000 }

it('D7 takes tables from the stream as they come, in whatever pieces, and tells of one that it cannot take', async () => {
  link.start()
  await vi.waitFor(() => expect(stream).not.toBeNull(), soon)
  const text = `: alive\n\nevent: table\ndata: ${JSON.stringify(TABLE)}\n\n`
  say(text.slice(0, 40))
  say(text.slice(40))
  say(`event: other\ndata: {}\n\nevent: table\ndata: {"version":4}\n\n`)
  await vi.waitFor(() => expect(refused).toHaveLength(1), soon)
  expect(tables).toEqual([TABLE])
  expect(refused).toEqual([{ version: 4, reason: expect.any(String) }])
  expect(link.connected).toBe(true)
  expect(asked[0]).toMatchObject({ what: 'GET /routes/stream?router=r%201', authorization: 'Bearer secret' })
})

it('R3.4 passes on the word for each table, and says when none will come any more', async () => {
  link.start()
  await vi.waitFor(() => expect(stream).not.toBeNull(), soon)
  say(`event: table\ndata: ${JSON.stringify(TABLE)}\n\n`)
  await vi.waitFor(() => expect(tables).toEqual([TABLE]), soon)
  expect([words, link.givesWord]).toEqual([[], false])
  say(`event: apply\ndata: {"inventory":"x","version":3}\n\n`)
  await vi.waitFor(() => expect(words).toEqual([{ inventory: 'x', version: 3 }]), soon)
  expect(link.givesWord).toBe(true)
  stream?.close()
  await vi.waitFor(() => expect(words.at(-1)).toBeNull(), soon)
  expect(link.givesWord).toBe(false)
})

it('D7 a stream that is refused is none: it says so, is not connected, and asks again', async () => {
  streamStatus = 503
  link.start()
  await vi.waitFor(() => expect(count('GET /routes/stream?router=r%201')).toBeGreaterThan(1), soon)
  expect(warnings).toContain('route stream: the control plane answered 503')
  expect(link.connected).toBe(false)
  streamStatus = 200
  await vi.waitFor(() => {
    say(': alive\n\n')
    expect(link.connected).toBe(true)
  }, soon)
})

it('R12.10 is synchronised once it was counted, and stale until then', async () => {
  answerReport = () => counted({ counted: false })
  link.reportNow()
  await vi.waitFor(() => expect(count(REPORT)).toBeGreaterThan(0), soon)
  expect(link).toMatchObject({ synchronised: false, stale: true })
  answerReport = counted
  await vi.waitFor(() => expect(link).toMatchObject({ synchronised: true, stale: false }), soon)
})

it('D7 sends one report at a time, and what happened meanwhile in exactly one more', async () => {
  const held: (() => void)[] = []
  answerReport = () => new Promise((resolve) => held.push(() => resolve(counted())))
  for (let i = 0; i < 3; i++) link.reportNow()
  await vi.waitFor(() => expect(held).toHaveLength(1), soon)
  held[0]?.()
  await vi.waitFor(() => expect(held).toHaveLength(2), soon)
  held[1]?.()
  await vi.waitFor(() => expect(link.synchronised).toBe(true), soon)
  await new Promise((resolve) => setImmediate(resolve))
  link.reportNow()
  await vi.waitFor(() => expect(held).toHaveLength(3), soon)
  held[2]?.()
  expect(count(REPORT)).toBe(3)
})

it('R12.10 signs off with nothing in flight, behind the report that is under way', async () => {
  const held = Promise.withResolvers<Response>()
  answerReport = () => held.promise
  link.reportNow()
  await vi.waitFor(() => expect(count(REPORT)).toBe(1), soon)
  const stopped = link.stop()
  await new Promise((resolve) => setImmediate(resolve))
  expect(count(REPORT)).toBe(1)
  answerReport = counted
  held.resolve(counted())
  await stopped
  expect(asked.at(-1)).toMatchObject({ what: REPORT, body: { leaving: true, inFlight: {} } })
})

it('R12.10 has itself forgotten when it has no table with which it could come back', async () => {
  keepsTable = false
  await link.stop()
  expect(asked.map(({ what }) => what)).toEqual(['DELETE /routers/r%201'])
})
