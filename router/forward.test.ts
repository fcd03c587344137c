import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Chooser } from './choose.ts'
import { Endpoint } from './endpoint.ts'
import { Exchange } from './exchange.ts'
import { type ForwardParts, forward } from './forward.ts'
import { Metrics } from './metrics.ts'
import { DEFAULT_TIMEOUTS, resolveOptions } from './options.ts'
import type { RequestHead } from './request-head.ts'
import { UpstreamError, type UpstreamHandler, type UpstreamRequest } from './upstream/upstream.ts'

class Client extends EventEmitter {
  status = 0
  headersSent = false
  destroyed = false
  writableEnded = false
  writableFinished = false
  shouldKeepAlive = true
  writeHead(status: number) {
    this.status = status
    this.headersSent = true
    return this
  }
  end() {
    this.writableEnded = true
  }
}

const lost = () => new UpstreamError('UPSTREAM_CLOSED', 'lost')
const refused = () => Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })

let metrics: Metrics
let client: Client
/** What each endpoint was sent, with what it makes of it. */
let sent: { to: number; request: UpstreamRequest; repeatable: boolean }[]
let suspected: number[]
let chosenWithout: number[][]
let endpoints: Endpoint[]
/** What becomes of a request at each slot: an error before it has left, one after that, or nothing. */
let fate: Record<number, { before?: Error; after?: Error }>
/** The connection of what is sent has carried something before. */
let reused: boolean

beforeEach(() => {
  metrics = new Metrics()
  client = new Client()
  sent = []
  suspected = []
  chosenWithout = []
  fate = {}
  reused = false
  endpoints = [0, 1, 2].map((slot) => {
    const row = { instance: `i${slot}`, slot, address: `127.0.0.1:${slot + 1}`, state: 'serving' as const, up: true }
    const endpoint = new Endpoint(row, DEFAULT_TIMEOUTS, () => undefined)
    endpoint.send = (request: UpstreamRequest, repeatable: boolean, handler: UpstreamHandler) => {
      sent.push({ to: slot, request, repeatable })
      const { before, after } = fate[slot] ?? {}
      if (before !== undefined) return handler.onError(before)
      handler.onSent({ reused, pause: () => undefined, resume: () => undefined, abort: () => undefined })
      if (after !== undefined) handler.onError(after)
    }
    return endpoint
  })
})

async function go(more: Partial<Exchange> = {}, method = 'GET') {
  const head = { headers: ['host', 'app'], host: 'app', cookies: null, accept: null } as Partial<RequestHead>
  const req = Object.assign(new EventEmitter(), {
    method,
    url: '/',
    complete: true,
    headers: {},
  }) as never as Exchange['req']
  const exchange = new Exchange(req, client as never, { ip: '127.0.0.9', tls: false } as never, 0)
  const nulls = { contentLength: null, forwardedFor: null, forwardedHost: null, forwardedProto: null, realIp: null }
  Object.assign(exchange, {
    head: { ...head, ...nulls },
    app: { name: 'app', metrics: metrics.app('app'), row: { affinity: false } },
    idempotent: true,
    endpoint: endpoints[0],
    ...more,
  })
  req.exchange = exchange
  const again: Chooser['again'] = (one, done) => {
    chosenWithout.push((one.tried ?? []).map(({ slot }) => slot))
    one.endpoint = endpoints.find((endpoint) => !one.tried?.includes(endpoint)) ?? null
    done()
  }
  const parts: Partial<ForwardParts> = {
    options: resolveOptions(['--routes', 'r'], {}),
    chooser: { again, mayLeave: () => true, middleware: () => undefined },
    room: { leave: () => undefined } as never,
    stopping: () => false,
    suspect: (endpoint) => suspected.push(endpoint.slot),
    defect: (error) => {
      throw error
    },
  }
  forward(parts as ForwardParts)(req as never, client as never, () => undefined)
  for (let turns = 0; turns < 10; turns++) await new Promise((resolve) => setImmediate(resolve))
  return exchange
}
const slots = () => sent.map(({ to }) => to)

describe('a request that could not be sent', () => {
  it('R12.2 goes elsewhere whatever it is, and its instance is suspected and asked about at once', async () => {
    fate = { 0: { before: refused() }, 1: { before: refused() } }
    await go({ idempotent: false }, 'POST')
    expect(slots()).toEqual([0, 1, 2])
    expect(chosenWithout).toEqual([[0], [0, 1]])
    expect(suspected).toEqual([0, 1])
    expect(endpoints.map(({ suspectUntil }) => suspectUntil > performance.now())).toEqual([true, true, false])
    expect(metrics.app('app').retries).toBe(2)
  })

  it('R12.2 for want of descriptors of the router’s own is refused, and nobody is suspected for it', async () => {
    fate = { 0: { before: Object.assign(new Error('none left'), { code: 'EMFILE' }) } }
    await go()
    expect(slots()).toEqual([0])
    expect([client.status, suspected, endpoints[0]?.suspectUntil]).toEqual([503, [], 0])
  })

  it('whose client went while it waited for its first instance goes nowhere', async () => {
    fate = { 0: { before: refused() } }
    await go({ clientGone: true })
    expect(slots()).toEqual([])
    expect(metrics.app('app').retries).toBe(0)
  })
})

describe('R12.2 a request that was sent and not answered', () => {
  it('is sent once more if it may be, and never a third time', async () => {
    fate = { 0: { after: lost() }, 1: { after: lost() } }
    const { runs } = await go()
    expect([slots(), runs, client.status]).toEqual([[0, 1], 2, 502])
    expect(suspected).toEqual([0, 1])
  })

  it.each([
    ['it is not idempotent', { idempotent: false }, lost(), 502],
    ['its answer did not come in time', {}, new UpstreamError('UPSTREAM_TIMEOUT', 'late'), 504],
    ['its answer was none', {}, new UpstreamError('UPSTREAM_MALFORMED', 'nonsense'), 502],
  ])('is not sent again when %s', async (_, more, error, status) => {
    fate = { 0: { after: error } }
    await go(more)
    expect([slots(), client.status]).toEqual([[0], status])
  })
})

describe('R12.1 a request that was lost on an old connection by an instance that let everybody wait', () => {
  let asked: ((lives: boolean) => void)[]
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    reused = true
    fate = { 0: { after: lost() } }
    asked = []
    const victim = endpoints[0] as Endpoint
    victim.mayBeWaking = () => true
    victim.asksWhetherItLives = (_, onAnswer) => asked.push(onAnswer)
  })
  afterEach(() => vi.useRealTimers())
  const turn = () => new Promise((resolve) => setImmediate(resolve))

  it('waits until one that dies would have died, and goes elsewhere if it did', async () => {
    const { runs } = await go()
    expect([slots(), runs, asked.length, suspected]).toEqual([[0], 1, 0, [0]])
    vi.advanceTimersByTime(100)
    expect(slots()).toEqual([0])
    asked[0]?.(false)
    await turn()
    expect([slots(), chosenWithout]).toEqual([[0, 1], [[0]]])
  })

  it('goes there again if it lives, and nowhere when that one loses it, too', async () => {
    const exchange = await go()
    vi.advanceTimersByTime(100)
    asked[0]?.(true)
    await turn()
    expect([slots(), chosenWithout, exchange.runs, client.status]).toEqual([[0, 0], [[]], 2, 502])
    vi.advanceTimersByTime(10_000)
    expect([asked.length, slots()]).toEqual([1, [0, 0]])
  })

  it.each([
    ['before anybody was asked', 0],
    ['before the answer', 100],
  ])('goes nowhere when its client goes %s', async (_, ms) => {
    const exchange = await go()
    vi.advanceTimersByTime(ms)
    client.emit('close')
    expect(exchange.clientGone).toBe(true)
    vi.advanceTimersByTime(100)
    asked[0]?.(true)
    await turn()
    expect([slots(), asked.length, metrics.app('app').retries, endpoints[0]?.inFlight]).toEqual([[0], ms / 100, 0, 0])
  })

  it('goes elsewhere at once when that is known to be dead', async () => {
    ;(endpoints[0] as Endpoint).ejected = true
    await go()
    expect([slots(), asked.length]).toEqual([[0, 1], 0])
  })
})

it('R13.2 an instance is told who the client is by the router', async () => {
  await go()
  const headers = sent[0]?.request.headers ?? []
  const said = Object.fromEntries(headers.flatMap((name, i) => (i % 2 === 0 ? [[name, headers[i + 1]]] : [])))
  expect(said).toMatchObject({
    host: 'app',
    'x-forwarded-for': '127.0.0.9',
    'x-forwarded-host': 'app',
    'x-forwarded-proto': 'http',
    'x-real-ip': '127.0.0.9',
  })
})
