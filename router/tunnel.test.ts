import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Bulk } from './bulk.ts'
import { Endpoint } from './endpoint.ts'
import { Exchange } from './exchange.ts'
import { DEFAULT_TIMEOUTS } from './options.ts'
import { Tunnel } from './tunnel.ts'

/** One end; what is written to it is dropped. */
class End extends EventEmitter {
  destroyed = false
  errored = null
  /** It was to end when it had sent what it had. */
  soon = false
  /** What it makes of a write: whether it takes more. */
  takes = true
  private paused = true
  write() {
    return this.takes
  }
  pause() {
    this.paused = true
  }
  resume() {
    this.paused = false
  }
  isPaused() {
    return this.paused
  }
  destroy() {
    if (this.destroyed) return
    this.destroyed = true
    this.emit('close')
  }
  destroySoon() {
    this.soon = true
    this.destroy()
  }
  setTimeout() {}
  setNoDelay() {}
  setKeepAlive() {}
}

/** Frames of a client, which are masked. */
const CLICK = Buffer.from([0x81, 0x85, 1, 2, 3, 4, 5, 6, 7, 8, 9])
const PONG = Buffer.from([0x8a, 0x82, 1, 2, 3, 4, 5, 6])

describe('R12.2 an instance whose clients have WebSockets', () => {
  let endpoint: Endpoint
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'], now: 1_000_000 })
    const row = { instance: 'i', slot: 0, address: '127.0.0.1:1', state: 'serving' as const, up: true }
    endpoint = new Endpoint(row, DEFAULT_TIMEOUTS, () => undefined)
  })
  afterEach(() => vi.useRealTimers())

  function open() {
    const client = new End()
    const instance = new End()
    const res = Object.assign(new EventEmitter(), { socket: client, detachSocket: () => undefined })
    const exchange = new Exchange({ rawHeaders: [] } as never, res as never, {} as never, 0)
    const tunnel = new Tunnel(exchange, endpoint, instance as never, new Bulk(() => undefined), () =>
      endpoint.longLived.delete(tunnel),
    )
    endpoint.longLived.add(tunnel)
    tunnel.open([], Buffer.alloc(0))
    return { client, instance, tunnel }
  }
  const silentMs = () => endpoint.silentMs(performance.now())
  const pass = (ms: number) => vi.advanceTimersByTime(ms)

  it('is silent since one of them said something, until it says anything to anybody', () => {
    const one = open()
    const other = open()
    pass(5_000)
    expect(silentMs()).toBe(0)
    one.client.emit('data', CLICK)
    pass(700)
    one.client.emit('data', CLICK)
    other.client.emit('data', CLICK)
    pass(300)
    expect(silentMs()).toBe(1_000)
    other.instance.emit('data', CLICK)
    expect(silentMs()).toBe(0)
    // The first still waits, from now on.
    pass(1_500)
    expect(silentMs()).toBe(1_500)
    one.instance.emit('data', CLICK)
    pass(1_500)
    expect(silentMs()).toBe(0)
  })

  it('is not silent when the client took nothing more, or has gone', () => {
    const { client, instance, tunnel } = open()
    client.takes = false
    instance.emit('data', CLICK)
    expect(instance.isPaused()).toBe(true)
    client.emit('data', CLICK)
    pass(2_000)
    expect(silentMs()).toBe(0)
    client.emit('drain')
    expect(silentMs()).toBe(2_000)
    client.destroy()
    expect([silentMs(), endpoint.longLived.has(tunnel)]).toEqual([0, false])
  })

  it('may be silent to a pong, and after a while to everything: what was said is worth one question', () => {
    const { client } = open()
    client.emit('data', PONG)
    pass(2_000)
    expect(silentMs()).toBe(0)
    client.emit('data', Buffer.concat([PONG, CLICK]))
    pass(10_500)
    client.emit('data', CLICK)
    expect(silentMs()).toBe(10_500)
    pass(1_000)
    expect(silentMs()).toBe(0)
    client.emit('data', CLICK)
    pass(2_000)
    expect(silentMs()).toBe(2_000)
  })

  it('counts as one that wakes up by its requests only', () => {
    const { client } = open()
    client.emit('data', CLICK)
    pass(2_000)
    expect(endpoint.mayBeWaking(performance.now())).toBe(false)
  })

  it('R1.6 is read no faster than its client takes, also while that is told to leave in the middle of a frame', () => {
    const { client, instance, tunnel } = open()
    // The head of a frame of 2^40 bytes, and its first ones.
    const frame = Buffer.from([0x82, 0x7f, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3])
    instance.emit('data', frame)
    tunnel.leave()
    client.takes = false
    instance.emit('data', Buffer.alloc(1_000))
    expect(instance.isPaused()).toBe(true)
    pass(2_000)
    expect([client.destroyed, instance.destroyed, client.soon]).toEqual([true, true, false])
  })
})
