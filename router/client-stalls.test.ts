import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { ClientStalls } from './client-stalls.ts'

const STALL_MS = 1000

beforeEach(() => vi.useFakeTimers())
afterEach(() => {
  vi.restoreAllMocks()
  vi.useRealTimers()
})

/** A connection for which 100 bytes wait, 60 of them in the write under way. */
function client(more: object = {}) {
  const socket = Object.assign(new EventEmitter(), {
    bytesWritten: 100,
    writableLength: 100,
    writableEnded: false,
    _handle: { writeQueueSize: 60 },
    destroyed: false,
    destroy: () => {
      socket.destroyed = true
      socket.emit('close')
    },
    ...more,
  })
  return socket
}
function watched(more: object = {}, stallMs = STALL_MS) {
  const stalls = new ClientStalls(stallMs)
  const socket = client(more)
  stalls.watch(socket as never)
  return socket
}

it('cuts off a client that takes nothing, not before its time and at most half of it later', () => {
  const socket = watched()
  vi.advanceTimersByTime(STALL_MS)
  expect(socket.destroyed).toBe(false)
  vi.advanceTimersByTime(STALL_MS / 2)
  expect(socket.destroyed).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

it.each([
  ['a part of a write', (socket: ReturnType<typeof client>) => socket._handle.writeQueueSize--],
  // The queue is as long as before.
  ['a write, and is written more', (socket: ReturnType<typeof client>) => (socket.bytesWritten += 100)],
])('leaves a client alone that takes %s now and then', (_, take) => {
  const socket = watched()
  for (let i = 0; i < 20; i++) {
    vi.advanceTimersByTime(STALL_MS * 0.8)
    take(socket)
  }
  expect(socket.destroyed).toBe(false)
  vi.advanceTimersByTime(STALL_MS * 1.5)
  expect(socket.destroyed).toBe(true)
})

it('what is written meanwhile is not taken', () => {
  const socket = watched()
  for (let i = 0; i < 15; i++) {
    vi.advanceTimersByTime(STALL_MS / 10)
    socket.bytesWritten += 100
    socket.writableLength += 100
  }
  expect(socket.destroyed).toBe(true)
})

it('leaves alone for whom nothing waits, and a WebSocket until it has ended', () => {
  const idle = watched({ writableLength: 0 })
  const tunnel = watched({ tunnel: {} })
  const unlimited = watched({}, 0)
  vi.advanceTimersByTime(100 * STALL_MS)
  expect([idle, tunnel, unlimited].map(({ destroyed }) => destroyed)).toEqual([false, false, false])
  tunnel.writableEnded = true
  vi.advanceTimersByTime(STALL_MS * 1.5)
  expect(tunnel.destroyed).toBe(true)
})

it('calls nobody late for the time in which this process did not run', () => {
  const socket = watched()
  vi.advanceTimersByTime(STALL_MS / 2)
  const now = performance.now()
  vi.spyOn(performance, 'now').mockReturnValue(now + 100 * STALL_MS)
  vi.advanceTimersByTime(STALL_MS / 4)
  expect(socket.destroyed).toBe(false)
})
