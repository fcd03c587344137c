import { expect, it, vi } from 'vitest'
import type { Clock } from './clock.ts'
import type { Observation } from './contracts.ts'
import { waitUntilHealthy } from './health.ts'

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
