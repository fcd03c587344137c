import { createServer } from 'node:http'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import type { HealthSpec, InstanceSpec } from '../../runtime/contracts.ts'
import { type HealthOptions, waitUntilHealthy } from '../../runtime/health.ts'
import * as apps from './apps.ts'
import { type Bench, createBench } from './bench.ts'

let bench: Bench
beforeEach(async () => {
  bench = await createBench()
})
afterEach(() => bench.close())

const SHORT: HealthSpec = { path: null, timeoutMs: 1_500 }

async function check(source: string, more: Partial<InstanceSpec> = {}, options: Partial<HealthOptions> = {}) {
  const spec = await bench.spec(source, more)
  const running = await bench.provider.ensure(spec)
  const begun = Date.now()
  const progress: string[] = []
  const result = await waitUntilHealthy({
    id: spec.id,
    spec,
    running,
    provider: bench.provider,
    clock: systemClock,
    signal: new AbortController().signal,
    onProgress: (words) => progress.push(words),
    ...options,
  }).then(
    (healthy) => ({ healthy, error: null }),
    (error) => ({ healthy: null, error }),
  )
  return { ...result, running, progress, tookMs: Date.now() - begun, port: bench.ports.leases[spec.id] }
}

describe('passes', () => {
  it('R1.4 an app on 0.0.0.0, and one on ::', async () => {
    expect(await check(apps.wellBehaved)).toMatchObject({ healthy: { loopbackOnly: null } })
    await bench.provider.remove('hello-00000001-0', { graceMs: 0 })
    expect(await check(apps.onIpv6)).toMatchObject({ healthy: { loopbackOnly: null } })
  })

  it('a fast app fast, and a slow one soon after it listens', async () => {
    const { healthy, running } = await check(apps.wellBehaved)
    expect(healthy?.address).toBe(running.address)
    await bench.provider.remove('hello-00000001-0', { graceMs: 0 })
    const slow = await check(apps.listensAfter(1_000))
    expect(slow.healthy).not.toBeNull()
    expect(slow.tookMs).toBeGreaterThanOrEqual(1_000)
    expect(slow.progress).toContain(`waiting for it to listen on port ${slow.port}`)
  })

  it('an app without a front page, unless the deployment names a path', async () => {
    expect((await check(apps.answers404)).healthy).not.toBeNull()
    await bench.provider.remove('hello-00000001-0', { graceMs: 0 })
    const named = await check(apps.answers404, { health: { ...SHORT, path: '/' } })
    expect(named.error).toMatchObject({ code: 'HealthCheckFailed', details: { status: 404 } })
  })

  it('an app that answers badly at first', async () => {
    const { healthy, progress } = await check(apps.healthyAfter(500))
    expect(healthy).not.toBeNull()
    expect(progress.some((words) => words.includes('status 503'))).toBe(true)
  })

  it('R1.4 a standard app on loopback, and says on which address', async () => {
    const v4 = await check(apps.onLoopbackOnly, { mode: 'standard' })
    expect(v4.healthy).toEqual({ address: `127.0.0.1:${v4.port}`, loopbackOnly: `127.0.0.1:${v4.port}` })
    await bench.provider.remove('hello-00000001-0', { graceMs: 0 })
    const v6 = await check(apps.onIpv6LoopbackOnly, { mode: 'standard' })
    expect(v6.healthy).toEqual({ address: `[::1]:${v6.port}`, loopbackOnly: `[::1]:${v6.port}` })
  })
})

describe('fails at once', () => {
  it('an app that crashes at its start, with how it ended and its last lines', async () => {
    const { error, tookMs } = await check(apps.crashesAtStart)
    expect(error).toMatchObject({
      code: 'AppCrashedAtStart',
      details: { exitCode: 3, logLines: ['Error: no database'] },
    })
    expect(error.message).toContain('exit code 3')
    expect(tookMs).toBeLessThan(10_000)
  })

  it('an app whose command does not exist', async () => {
    const { error } = await check('', { command: ['no-such-program', '--port', '$DATABRICKS_APP_PORT'] })
    expect(error.code).toBe('AppCrashedAtStart')
    expect(error.message).toContain('"no-such-program" was not found')
    expect(error.details.logLines.join()).toContain('no-such-program')
  })

  it('R1.4 a scaled app that listens on loopback only, naming the address and how to mend it', async () => {
    for (const [source, host] of [
      [apps.onLoopbackOnly, '127.0.0.1'],
      [apps.onIpv6LoopbackOnly, '[::1]'],
    ] as const) {
      const { error, port, tookMs } = await check(source)
      expect(error.code).toBe('AppListensOnLoopback')
      expect(error.message).toContain(`${host}:${port}`)
      expect(error.message).toContain(`0.0.0.0:${port}`)
      expect(tookMs).toBeLessThan(10_000)
      await bench.provider.remove('hello-00000001-0', { graceMs: 0 })
    }
  })
})

describe('fails at the deadline', () => {
  it('R1.4 an app on another port, naming what was found', async () => {
    const wrong = await bench.ports.acquire('somebody-else')
    const { error, port, tookMs, progress } = await check(apps.onAnotherPort, {
      env: { PATH: process.env.PATH ?? '', WRONG_PORT: String(wrong) },
      health: { path: null, timeoutMs: 5_000 },
    })
    expect(error).toMatchObject({ code: 'AppListensOnWrongPort', details: { found: [`0.0.0.0:${wrong}`], port } })
    expect(error.message).toContain(`0.0.0.0:${wrong}`)
    expect(error.message).toContain(`port ${port}`)
    expect(error.message).toContain('DATABRICKS_APP_PORT')
    expect(tookMs).toBeGreaterThanOrEqual(4_500)
    expect(progress.at(-1)).toContain(`it listens on 0.0.0.0:${wrong}`)
  })

  it('R1.4 an app that does not listen at all, with its last lines', async () => {
    const { error } = await check(apps.listensNowhere, { health: SHORT })
    expect(error).toMatchObject({ code: 'AppDoesNotListen', details: { logLines: ['busy with something else'] } })
  })

  it('an app whose health check answers 500', async () => {
    const { error } = await check(apps.answers500, { health: SHORT })
    expect(error).toMatchObject({ code: 'HealthCheckFailed', details: { status: 500 } })
  })

  it('an app that takes connections and never answers', async () => {
    const { error } = await check(apps.neverAnswers, { health: SHORT })
    expect(error).toMatchObject({ code: 'HealthCheckTimedOut', details: { logLines: ['got a request'] } })
  })

  it('R12.2 an app that a signal stopped, and says so rather than that it does not answer', async () => {
    const { error } = await check(`setTimeout(() => process.kill(process.pid, 'SIGSTOP'), 50)`, { health: SHORT })
    expect(error).toMatchObject({
      code: 'HealthCheckTimedOut',
      message: expect.stringContaining('stopped by a signal'),
    })
  })

  it('an app whose port somebody else took before it listened: the answer of another program does not count', async () => {
    const foreign = createServer((_, response) => response.end('ok'))
    const spec = await bench.spec(apps.listensNowhere, { health: SHORT })
    const running = await bench.provider.ensure(spec)
    await new Promise<void>((resolve) => foreign.listen(bench.ports.leases[spec.id], '0.0.0.0', resolve))
    try {
      await expect(
        waitUntilHealthy({
          id: spec.id,
          spec,
          running,
          provider: bench.provider,
          clock: systemClock,
          signal: new AbortController().signal,
        }),
      ).rejects.toMatchObject({ code: 'PortUnavailable' })
    } finally {
      foreign.close()
    }
  })
})

it.each([-3_600_000, 3_600_000])(
  'R13.8 waits as long as it may, also when the clock is set by %d ms while it waits, and before it does',
  async (ms) => {
    let set = 0
    const clock = { ...systemClock, now: () => Date.now() + set }
    const first = check(apps.listensNowhere, { health: SHORT }, { clock, onProgress: () => (set = ms) })
    const { error, tookMs } = await first
    expect(error).toMatchObject({ code: 'AppDoesNotListen' })
    expect(tookMs).toBeGreaterThanOrEqual(SHORT.timeoutMs - 200)
    expect(tookMs).toBeLessThan(60_000)
    // Found by the next worker, as it was started before the clock was set.
    const again = await check(apps.listensNowhere, { health: SHORT }, { clock })
    expect(again.error).toMatchObject({ code: 'AppDoesNotListen' })
    expect(again.tookMs).toBeLessThan(60_000)
  },
)

it('ends at once when it is told to, and leaves the instance as it is', async () => {
  const aborter = new AbortController()
  const reason = new Error('cancelled')
  const { error, running } = await check(
    apps.listensNowhere,
    {},
    {
      signal: aborter.signal,
      onProgress: () => aborter.abort(reason),
    },
  )
  expect(error).toBe(reason)
  expect(await bench.provider.observe('hello-00000001-0')).toEqual(running)
})
