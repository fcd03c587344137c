import { EventEmitter } from 'node:events'
import { beforeEach, describe, expect, it } from 'vitest'
import { Attempt, type Outcome } from './attempt.ts'
import { Bulk } from './bulk.ts'
import { Endpoint } from './endpoint.ts'
import { Exchange } from './exchange.ts'
import { DEFAULT_TIMEOUTS } from './options.ts'
import { RebalanceNotes } from './rebalance-count.ts'
import { ResponseHeads } from './response-head.ts'
import { RouterCookies } from './router-cookie.ts'
import { UpstreamError } from './upstream/upstream.ts'

/** What the client gets, in order, as `head 200`, `body x` and `end`. */
class Client extends EventEmitter {
  readonly got: string[] = []
  headersSent = false
  writableEnded = false
  shouldKeepAlive = true
  useChunkedEncodingByDefault = true
  destroyed = false
  writeHead(status: number) {
    this.got.push(`head ${status}`)
  }
  flushHeaders() {
    this.headersSent = true
    this.got.push('flush')
  }
  write(chunk: Buffer | string) {
    this.headersSent = true
    this.got.push(`body ${chunk}`)
    return true
  }
  end(chunk?: Buffer | string) {
    if (chunk !== undefined) this.write(chunk)
    this.headersSent = true
    this.writableEnded = true
    this.got.push('end')
  }
  destroy() {
    this.destroyed = true
  }
}

let client: Client
let endpoint: Endpoint
let outcomes: Outcome[]
let aborts: number
beforeEach(() => {
  client = new Client()
  outcomes = []
  aborts = 0
  endpoint = new Endpoint(
    { instance: 'i', slot: 0, address: '127.0.0.1:1', state: 'serving', up: true },
    DEFAULT_TIMEOUTS,
    () => undefined,
  )
})

function start(more: Partial<Exchange> = {}, req: object = {}) {
  const request = Object.assign(new EventEmitter(), {
    complete: true,
    method: 'GET',
    httpVersion: '1.1',
    resume() {},
    ...req,
  })
  const exchange = new Exchange(request as never, client as never, { loopback: false, tls: false } as never, 0)
  Object.assign(exchange, { head: {}, idempotent: true, ...more })
  const parts = {
    heads: new ResponseHeads(new RouterCookies(() => false)),
    random: () => 1,
    servedBy: false,
    writeStallMs: 0,
    bulk: new Bulk(() => undefined),
    rebalances: new RebalanceNotes(),
    defect: () => undefined,
    stopping: () => false,
  }
  const attempt = new Attempt(exchange, endpoint, parts, {
    ended: (outcome) => outcomes.push(outcome),
    connectsAgain: () => false,
  })
  const sent = () => {
    attempt.onSent({ reused: false, pause: () => undefined, resume: () => undefined, abort: () => aborts++ })
    return attempt
  }
  return { attempt, exchange, request, sent }
}
const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('an answer', () => {
  it('that is short leaves in one piece, a longer one in the order in which it came', () => {
    const short = start().sent()
    short.onHead(200, 'OK', [])
    short.onData(Buffer.from('a'))
    short.onEnd(null)
    expect(client.got).toEqual(['head 200', 'body a', 'end'])
    client.got.length = 0
    const long = start().sent()
    long.onHead(200, 'OK', [])
    for (const piece of 'abc') long.onData(Buffer.from(piece))
    long.onEnd(null)
    expect(client.got).toEqual(['head 200', 'body a', 'body b', 'body c', 'end'])
    expect(outcomes).toEqual([{ kind: 'done' }, { kind: 'done' }])
    expect(endpoint.inFlight).toBe(0)
  })

  it('does not wait with its head for a body that does not come yet, nor with a first piece for a second', async () => {
    const attempt = start().sent()
    attempt.onHead(200, 'OK', [])
    await turn()
    expect(client.got).toEqual(['head 200', 'flush'])
    client.got.length = 0
    const other = start().sent()
    other.onHead(200, 'OK', [])
    other.onData(Buffer.from('a'))
    await turn()
    expect(client.got).toEqual(['head 200', 'body a'])
  })

  it('R13.1 that comes before the whole body of its request does not end before the client has sent that, or a second later', async () => {
    const { request, sent } = start({ hasBody: true }, { complete: false })
    const attempt = sent()
    attempt.onHead(413, 'No', [])
    attempt.onData(Buffer.from('too large'))
    attempt.onEnd(null)
    expect(client.shouldKeepAlive).toBe(false)
    expect(client.got).toEqual(['head 413', 'body too large'])
    request.emit('end')
    expect(client.got).toEqual(['head 413', 'body too large', 'end'])
  })

  it('R12.2 of 5xx is noted at its instance, and no other', () => {
    start().sent().onHead(499, '', [])
    expect(endpoint.failedAt).toBe(0)
    start().sent().onHead(500, '', [])
    expect(endpoint.failedAt).toBeGreaterThan(0)
  })

  it('that is cut short breaks the connection, and is not asked for again', async () => {
    const attempt = start().sent()
    attempt.onHead(200, 'OK', [])
    attempt.onData(Buffer.from('a'))
    await turn()
    attempt.onError(new UpstreamError('UPSTREAM_CLOSED', 'gone'))
    await turn()
    expect(client).toMatchObject({ got: ['head 200', 'body a'], destroyed: true, writableEnded: false })
    expect(outcomes).toEqual([{ kind: 'done' }])
  })
})

describe('R6.2 an event stream', () => {
  const EVENTS = ['Content-Type', 'text/event-stream']

  it('is long-lived while it lasts, and not any more when it has ended', () => {
    const ends: ((attempt: Attempt) => void)[] = [
      (attempt) => attempt.onEnd(null),
      (attempt) => attempt.onError(new Error('gone')),
      (attempt) => attempt.abandon(),
    ]
    for (const end of ends) {
      const attempt = start().sent()
      attempt.onHead(200, 'OK', EVENTS)
      expect(endpoint.longLived.size).toBe(1)
      end(attempt)
      expect(endpoint.longLived.size).toBe(0)
      expect(endpoint.inFlight).toBe(0)
    }
  })

  it('of an instance that leaves ends behind an event, so that none is lost', () => {
    const attempt = start().sent()
    attempt.onHead(200, 'OK', EVENTS)
    attempt.leave()
    attempt.onData(Buffer.from('data: 1\n'))
    expect(outcomes).toEqual([])
    attempt.onData(Buffer.from('data: 2\n\n'))
    expect(client.got).toEqual(['head 200', 'body data: 1\n', 'body data: 2\n\n', 'end'])
    expect([outcomes, aborts]).toEqual([[{ kind: 'done' }], 1])
  })
})

describe('R12.2 without an answer', () => {
  const lost = new UpstreamError('UPSTREAM_CLOSED', 'lost')

  it('what has not left may go elsewhere; what has left is told as such, and once only', () => {
    const { attempt } = start()
    attempt.onError(lost)
    expect(outcomes).toEqual([{ kind: 'notSent', error: lost }])
    const sent = start().sent()
    sent.onError(lost)
    sent.onError(lost)
    expect(outcomes.slice(1)).toEqual([{ kind: 'unanswered', error: lost, repeatable: true, stale: false }])
    expect(endpoint).toMatchObject({ inFlight: 0 })
  })

  it('what an instance has that was given up is not repeated, what a dead one has is', () => {
    const kept = start().sent()
    endpoint.keepAll()
    kept.onError(lost)
    expect(outcomes).toMatchObject([{ kind: 'unanswered', repeatable: false }])
    start().sent()
    endpoint.recallAll()
    expect(outcomes.slice(1)).toMatchObject([{ kind: 'unanswered', repeatable: true }])
  })

  it('what still waits for a connection to one that is silent stays, and leaves only when that is given up or dead', () => {
    const { attempt, exchange, sent } = start()
    const other = start().attempt
    endpoint.keepAll()
    expect([outcomes, endpoint.inFlight]).toEqual([[], 2])
    // Once it has left it is never repeated.
    sent()
    expect(attempt.place).toBe(-1)
    attempt.onError(lost)
    expect([outcomes.splice(0), exchange.runs]).toMatchObject([[{ kind: 'unanswered', repeatable: false }], 1])
    endpoint.ejected = true
    endpoint.keepAll()
    expect(outcomes.splice(0)).toMatchObject([{ kind: 'notSent' }])
    expect(other.place).toBe(-1)
    endpoint.ejected = false
    start()
    endpoint.keepAll()
    endpoint.recallAll()
    expect(outcomes).toMatchObject([{ kind: 'notSent' }])
    expect(endpoint.inFlight).toBe(0)
  })

  it('what had left, or was taken back, waits for the next instance anew; what could not connect has waited already', () => {
    const waited = { waitUntil: 5 }
    const sent = start(waited)
    sent.sent()
    const recalled = start(waited)
    recalled.attempt.recall()
    const refused = start(waited)
    refused.attempt.onError(Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }))
    expect([sent, recalled, refused].map(({ exchange }) => exchange.waitUntil)).toEqual([0, 0, 5])
  })

  it('what nobody can read is unusable, and a client that has gone ends it at the instance', () => {
    start().sent().onError(new UpstreamError('UPSTREAM_MALFORMED', 'nonsense'))
    expect(outcomes).toMatchObject([{ kind: 'unusable' }])
    const before = aborts
    start().sent().abandon()
    expect(outcomes.slice(1)).toEqual([{ kind: 'clientGone' }])
    expect(aborts).toBe(before + 1)
  })
})
