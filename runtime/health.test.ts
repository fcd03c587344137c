import { describe, expect, it, vi } from 'vitest'
import { portOf } from '../domain/address.ts'
import type { CoppiceError } from '../domain/errors.ts'
import type { Clock } from './clock.ts'
import type { Observation } from './contracts.ts'
import { type HealthOptions, waitUntilHealthy } from './health.ts'

/** A clock that never goes on: what happens is not for the time that has passed. */
const stands: Clock = { now: () => 0, elapsed: () => 0, after: () => () => undefined }

it('R3.3 an instance that ends while its start is awaited is told at once, and what becomes of others is no reason to look', async () => {
  let observed: Observation = { state: 'running', address: '127.0.0.1:9', pid: 1, startedAt: 0, suspended: false }
  let changed: (id: string) => void = () => undefined
  let questions = 0
  const stopped = vi.fn()
  const waiting = waitUntilHealthy({
    id: 'mine',
    spec: {
      health: { path: null, timeoutMs: 60_000 },
      mode: 'scaled',
      portVariables: ['PORT'],
      command: ['node', 'app.js'],
    },
    running: observed,
    provider: {
      observe: async () => observed,
      listeners: async () => [],
      logLines: async () => ['its last words'],
      onChange: (listener) => {
        changed = listener
        return stopped
      },
    },
    clock: stands,
    signal: new AbortController().signal,
    ask: async () => {
      questions++
      return { kind: 'refused' }
    },
  })
  const turns = async () => {
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
  }
  await turns()
  const before = questions
  expect(before).toBeGreaterThan(0)
  changed('of another')
  await turns()
  expect(questions).toBe(before)
  observed = { state: 'exited', code: 3, signal: null, at: 74 }
  changed('mine')
  await expect(waiting).rejects.toMatchObject({
    code: 'AppCrashedAtStart',
    message: expect.stringContaining('74 ms after its start'),
    details: { exitCode: 3, logLines: ['its last words'] },
  })
  expect(stopped).toHaveBeenCalledOnce()
})

describe('R1.6 an app that listens on a hundred thousand ports', () => {
  /** Whatever is waited for is over at once. */
  const hurries = (): Clock => {
    let elapsed = 0
    return {
      now: () => elapsed,
      elapsed: () => elapsed,
      after: (ms, callback) => {
        elapsed += ms
        queueMicrotask(callback)
        return () => undefined
      },
    }
  }
  const running = { state: 'running', address: '127.0.0.1:9', pid: 1, startedAt: 0, suspended: false } as const
  const wait = (listeners: string[], more: Partial<HealthOptions>) =>
    waitUntilHealthy({
      id: 'mine',
      spec: {
        health: { path: null, timeoutMs: 10_000 },
        mode: 'scaled',
        portVariables: ['PORT'],
        command: ['node', 'app.js'],
      },
      running,
      provider: {
        observe: async () => running,
        listeners: async (_, port) => listeners.filter((one) => port === undefined || portOf(one) === port),
        logLines: async () => [],
        onChange: () => () => undefined,
      },
      clock: hurries(),
      signal: new AbortController().signal,
      beyondLoopback: null,
      ...more,
    }).then(
      () => expect.fail('it is not healthy'),
      (error: CoppiceError) => error,
    )
  const many = (address: (i: number) => string) => Array.from({ length: 100_000 }, (_, i) => address(i))

  it('but not on its own is told with five of them, while it is waited for and when that is over', async () => {
    const told: string[] = []
    const { code, message, details } = await wait(
      many((i) => `0.0.0.0:${i + 10}`),
      { ask: async () => ({ kind: 'refused' }), onProgress: (words) => told.push(words) },
    )
    expect(code).toBe('AppListensOnWrongPort')
    const some = 'listens on 0.0.0.0:10, 0.0.0.0:11, 0.0.0.0:12, 0.0.0.0:13, 0.0.0.0:14 and 99995 more'
    expect(message).toMatch(new RegExp(`^The app ${some}, but must listen on port 9,`))
    expect(told).toContain(`it ${some}; waiting for it to listen on port 9`)
    expect(details.found).toHaveLength(20)
  })

  it('and on its own where it is not reached is told with five of them', async () => {
    const { code, message, details } = await wait(['0.0.0.0:9', ...many((i) => `0.0.0.0:${i + 10}`)], {
      ask: async () => ({ kind: 'refused' }),
    })
    expect(code).toBe('AppDoesNotListen')
    expect(message).toContain('0.0.0.0:13 and 99996 more, where it is not reached')
    expect(details.found).toHaveLength(20)
  })

  it('on loopback alone is told with five of them', async () => {
    const { code, message, details } = await wait(
      many((i) => `127.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}:9`),
      { ask: async () => ({ kind: 'status', status: 200 }) },
    )
    expect(code).toBe('AppListensOnLoopback')
    expect(message).toContain('127.0.0.4:9 and 99995 more, which only this machine can reach')
    expect(details.found).toHaveLength(20)
  })

  it.each([
    [1, '0.0.0.0:10'],
    [2, '0.0.0.0:10 and 0.0.0.0:11'],
    [3, '0.0.0.0:10, 0.0.0.0:11 and 0.0.0.0:12'],
    [6, '0.0.0.0:10, 0.0.0.0:11, 0.0.0.0:12, 0.0.0.0:13, 0.0.0.0:14 and 1 more'],
  ])('or on %d is told so', async (count, words) => {
    const listeners = many((i) => `0.0.0.0:${i + 10}`).slice(0, count)
    const { message } = await wait(listeners, { ask: async () => ({ kind: 'refused' }) })
    expect(message).toContain(`listens on ${words}, but`)
  })
})
