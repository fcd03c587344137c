import { createServer, type Server } from 'node:http'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Ports } from './ports.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
afterEach(() => vi.useRealTimers())

it('R12.8 a process that hears nothing of a port that it is to open ends, so that another one takes its place', async () => {
  const failed: [number, string][] = []
  let stuck = 0
  const mute = (): Server => Object.assign(createServer(), { listen: () => undefined }) as never
  const ports = new Ports(
    mute,
    '127.0.0.1',
    (...words) => failed.push(words),
    () => stuck++,
  )
  void ports.set([23_456])
  vi.advanceTimersByTime(4_999)
  expect([stuck, failed]).toEqual([0, []])
  vi.advanceTimersByTime(1)
  expect([stuck, failed]).toEqual([1, [[23_456, expect.stringContaining('nothing was heard of it')]]])
})

it('and one that hears of it does not', async () => {
  let stuck = 0
  const ports = new Ports(
    () => createServer(),
    '127.0.0.1',
    () => undefined,
    () => stuck++,
  )
  await ports.set([0])
  vi.advanceTimersByTime(60_000)
  expect(stuck).toBe(0)
  ports.closeAll()
})
