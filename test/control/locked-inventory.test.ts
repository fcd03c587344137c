import { monitorEventLoopDelay } from 'node:perf_hooks'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startRival } from '../../store/testing.ts'
import { readEvents, startTestControl, type TestControl } from './control.ts'

/** How long the other process stands still with the write lock: long past every answer, well below the 10 s of patience. */
const STOPPED_MS = 5_000

let control: TestControl
let rival: Awaited<ReturnType<typeof startRival>>

beforeAll(async () => {
  control = await startTestControl()
  rival = await startRival(control.home)
  await control.call('POST', '/api/2.0/apps', { name: 'hello' })
})
afterAll(async () => {
  await rival?.stop()
  await control?.stop()
})

/** Reads of all kinds, each of which has to come back while the lock is held. */
const READS = [
  '/healthz',
  '/api/2.0/apps',
  '/api/2.0/apps/hello',
  '/api/2.0/apps/hello/update',
  '/api/2.0/apps/hello/deployments',
  '/api/coppice/v1/apps/hello/instances',
  '/api/coppice/v1/apps/hello/sessions',
  '/api/coppice/v1/operations',
  '/api/coppice/v1/routers',
  '/api/coppice/v1/workspace',
  '/api/coppice/v1/artifacts',
]

it('D4 R1.6 with another process stopped in the middle of a write, reads and streams answer, and writes wait their turn', async () => {
  const gone = new AbortController()
  const events = readEvents(await control.raw('/api/coppice/v1/events?after=0', { signal: gone.signal }))
  expect((await events.next()).value).toMatchObject({ event: 'app' })
  const delay = monitorEventLoopDelay({ resolution: 5 })

  await rival.standStill()
  delay.enable()
  const stoppedAt = performance.now()
  const opened = new Set<string>()
  const write = control
    .call('PATCH', '/api/2.0/apps/hello', { description: 'waited' })
    .then((answer) => ({ ...answer, after: performance.now() - stoppedAt }))
  while (performance.now() - stoppedAt < STOPPED_MS) {
    // Of each round: a token has only so many.
    const streams = new AbortController()
    for (const path of READS) expect((await control.raw(path)).status, path).toBe(200)
    const tables = await control.raw(`/api/coppice/v1/routes/stream?router=r${opened.size}`, { signal: streams.signal })
    expect((await readEvents(tables).next()).value).toMatchObject({ event: 'table' })
    const follower = await control.raw('/api/coppice/v1/events?after=0', { signal: streams.signal })
    expect((await readEvents(follower).next()).value).toMatchObject({ event: 'app' })
    const dry = await control.call('POST', '/api/2.0/apps/hello/update?dry_run=true', {
      app: { compute_min_instances: 1, compute_max_instances: 1 },
      update_mask: 'compute_min_instances,compute_max_instances',
    })
    expect(dry.body).toMatchObject({ dry_run: { operation: 'convert' } })
    opened.add(String(opened.size))
    streams.abort()
  }
  // Keep-alives of the follower that was there before.
  expect((await events.next()).value).toEqual({ comment: true })
  delay.disable()
  await rival.goOn()

  const written = await write
  expect(written).toMatchObject({ status: 200, body: { description: 'waited' } })
  expect(written.after).toBeGreaterThan(STOPPED_MS)
  // Whole rounds of all of these, while within SQLite the first one would have waited for the lock. And nothing held the
  // loop: the bound is for a machine with other work, the lock would have held it for seconds.
  expect(opened.size).toBeGreaterThan(3)
  expect(delay.max / 1e6).toBeLessThan(1_500)
  gone.abort()
})

it('D4 a write that cannot have the lock for 10 s says so, changes nothing, and can be sent again', async () => {
  await rival.standStill()
  const refused = await control.call('POST', '/api/2.0/apps', { name: 'late' })
  expect(refused).toMatchObject({ status: 503, body: { error_code: 'TEMPORARILY_UNAVAILABLE' } })
  expect(refused.body.message).toMatch(/inventory has been locked for too long/)
  expect((await control.call('GET', '/api/2.0/apps/late')).status).toBe(404)
  await rival.goOn()
  expect((await control.call('POST', '/api/2.0/apps', { name: 'late' })).status).toBe(200)
})
