import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openTestStore, type TestStore } from './testing.ts'

const DAY_MS = 24 * 3_600_000
const NO_BOUND = { perApp: 1e9, total: 1e9, maxAgeMs: 1e12 }

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
  for (const name of ['hello', 'other']) await store.apps.create({ name, mode: 'scaled', instances: 1, creator: 'ada' })
})
afterEach(() => store.dispose())

/** Operations that have ended, a second apart, with a step each. */
async function ended(app: string, from: number, to: number): Promise<void> {
  store.raw.exec('begin')
  for (let i = from; i <= to; i++) {
    store.clock.now += 1_000
    const at = store.clock.now
    store.raw.exec(`insert into operations (id, app, type, state, phase, door, started_by, created_app, requested_at, ended_at)
      values ('${app}-${i}', '${app}', 'resize', 'SUCCEEDED', 'committed', 'api', 'ada', 0, ${at}, ${at})`)
    store.raw.exec(`insert into operation_steps (operation, step, seq, words, state, detail, started_at)
      values ('${app}-${i}', 'admit', 0, 'Admit', 'done', '', ${at})`)
  }
  store.raw.exec('commit')
}
const left = async (app?: string) => (await store.operations.list({ app, limit: 5_000 })).map(({ id }) => id).reverse()
const steps = () => (store.raw.prepare('select count(*) as n from operation_steps').get() as { n: number }).n

describe('R14.4 operations', () => {
  it('go with their steps past the newest of each app, also when there are very many', async () => {
    await ended('hello', 1, 1_203)
    await ended('other', 1, 3)
    expect(await store.operations.trim({ ...NO_BOUND, perApp: 3 })).toBe(1_200)
    expect(await left('hello')).toEqual(['hello-1201', 'hello-1202', 'hello-1203'])
    expect(await left('other')).toEqual(['other-1', 'other-2', 'other-3'])
    expect(steps()).toBe(6)
    expect(await store.operations.trim({ ...NO_BOUND, perApp: 3 })).toBe(0)
  })

  it('go past the newest of all, and when they are too old; those of apps that are gone as well', async () => {
    await ended('gone', 1, 2)
    await ended('hello', 1, 2)
    await store.operations.trim({ ...NO_BOUND, total: 3 })
    expect(await left()).toEqual(['gone-2', 'hello-1', 'hello-2'])
    store.clock.now += 30 * DAY_MS
    await ended('hello', 3, 3)
    await store.operations.trim({ ...NO_BOUND, maxAgeMs: 7 * DAY_MS })
    expect(await left()).toEqual(['hello-3'])
  })

  it('stay while they are open, and while a kept deployment, an instance or the last update names them', async () => {
    await ended('hello', 1, 6)
    store.raw.exec(`insert into deployments (id, app, operation, state, message, artifact, mode, env_names, health_timeout_ms,
      created_at, updated_at, creator) values
      ('d1', 'hello', 'hello-1', 'SUCCEEDED', '', 'artifact', 'SNAPSHOT', '[]', 1, 1, 1, 'ada'),
      ('d2', 'hello', 'hello-2', 'FAILED', '', null, 'SNAPSHOT', '[]', 1, 1, 1, 'ada')`)
    store.raw.exec(`update apps set last_update = '{"operation":"hello-3"}' where name = 'hello'`)
    store.raw.exec(`insert into instances (id, app, slot, deployment, operation, mode, compute_size, desired, role, observed,
      crashes, log_lines, created_at) values
      ('i', 'hello', 0, 'd1', 'hello-4', 'scaled', 'MEDIUM', 'running', 'serving', 'running', 0, '[]', 1)`)
    store.raw.exec(`update operations set state = 'RUNNING', ended_at = null where id = 'hello-5'`)
    expect(await store.operations.trim({ perApp: 0, total: 0, maxAgeMs: 0 })).toBe(2)
    expect(await left()).toEqual(['hello-1', 'hello-3', 'hello-4', 'hello-5'])
    expect(steps()).toBe(4)
  })
})

it('R14.4 a page of operations ends before the one that does not fit, has at least one, and says whether there are more', async () => {
  await ended('hello', 1, 30)
  const logLines = Array.from({ length: 30 }, () => '漢'.repeat(2_000))
  const failure = JSON.stringify({ code: 'AppCrashedAtStart', message: '', logLines })
  store.raw.prepare('update operations set failure = ?').run(failure)
  const page = async (before: string | undefined, limit: number, maxBytes: number) => {
    const { operations, more } = await store.operations.page({ app: 'hello', before, limit, maxBytes })
    return [operations.map(({ id }) => Number(id.slice('hello-'.length))), more]
  }
  expect(await page(undefined, 100, 1024 * 1024)).toEqual([[30, 29, 28, 27, 26], true])
  expect(await page('hello-26', 2, 1024 * 1024)).toEqual([[25, 24], true])
  expect(await page('hello-24', 100, 1)).toEqual([[23], true])
  expect(await page('hello-3', 2, 1e9)).toEqual([[2, 1], false])
  expect(await page('hello-2', 2, 1)).toEqual([[1], false])
  expect(await page('hello-1', 2, 1)).toEqual([[], false])
})

describe('R14.4 deployments', () => {
  it('go with their operation, but not what can be gone back to, runs, or is about to', async () => {
    await ended('hello', 1, 600)
    store.raw.exec('begin')
    for (let i = 1; i <= 600; i++)
      store.raw.exec(`insert into deployments (id, app, operation, state, message, artifact, mode, env_names, health_timeout_ms,
        created_at, updated_at, creator) values
        ('d${i}', 'hello', 'hello-${i}', 'SUCCEEDED', '', ${i === 1 ? "'artifact'" : 'null'}, 'SNAPSHOT', '[]', 1, ${i}, ${i}, 'ada')`)
    store.raw.exec(`update apps set active_deployment = 'd2' where name = 'hello'`)
    store.raw.exec('commit')
    expect(await store.deployments.trim()).toBe(0)
    await store.operations.trim({ ...NO_BOUND, perApp: 1 })
    expect(await store.deployments.trim()).toBe(597)
    expect((await store.deployments.list('hello')).map(({ id }) => id)).toEqual(['d600', 'd2', 'd1'])
  })
})

describe('R9.3 a step', () => {
  const ref = { operation: 'op-1', step: 'build', words: 'Build the artifact' }
  const told = async () =>
    (await store.events.after(0, { operation: 'op-1' })).filter(({ kind }) => kind === 'step').map(({ data }) => data)
  beforeEach(async () => {
    await store.admissions.request({ id: 'op-1', app: 'hello', startedBy: 'ada', change: { type: 'stop' } })
  })

  it('is told when it begins, when it gets further, and when it ends, each once', async () => {
    const said = (state: string, detail = '') => ({ step: 'build', words: ref.words, state, detail })
    expect(await store.operations.beginStep(ref)).toBeNull()
    expect(await told()).toEqual([said('running')])
    await store.operations.noteStep(ref, 'half of it')
    await store.operations.endStep(ref, 42)
    expect(await told()).toEqual([said('running'), said('running', 'half of it'), said('done')])
    expect(await store.operations.beginStep(ref)).toEqual({ outcome: 42 })
    expect(await told()).toHaveLength(3)
  })

  it('R1.6 keeps of a text of any length what people can read', async () => {
    await store.operations.beginStep(ref)
    await store.operations.noteStep(ref, 'x'.repeat(3_000_000))
    const cut = `${'x'.repeat(8_000)} …`
    expect((await store.operations.steps('op-1'))[0]?.detail).toBe(cut)
    const { message, data } = (await store.events.after(0, { operation: 'op-1' })).at(-1) ?? {}
    expect({ message, data }).toMatchObject({ message: `${ref.words}: ${cut}`, data: { detail: cut } })
  })

  it('of an operation that lost its app has no effect, and is not told as one that goes on', async () => {
    store.raw.exec(`update apps set operation = 'op-2' where name = 'hello'`)
    await expect(store.operations.beginStep(ref)).rejects.toMatchObject({ code: 'Fenced' })
    await store.operations.noteStep(ref, 'half of it')
    expect(await told()).toEqual([])
  })
})

it('R10.2 an operation that was refused is over: it is not admitted behind that', async () => {
  await store.admissions.request({ id: 'op-1', app: 'hello', startedBy: 'ada', change: { type: 'stop' } })
  await store.operations.refuse('op-1', { code: 'InvalidState', message: 'no', step: null, logLines: [] } as never)
  const again = store.admissions.admit({
    id: 'op-1',
    app: 'hello',
    type: 'stop',
    workflowId: 'w',
    runId: 'r',
    byHand: null,
  })
  await expect(again).rejects.toMatchObject({ code: 'OperationEnded' })
  expect((await store.apps.get('hello'))?.operation ?? null).toBeNull()
})
