import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { admitDeploy, openTestStore, type TestStore } from './testing.ts'

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
  await store.apps.create({ name: 'hello', mode: 'scaled', instances: 1, creator: 'ada' })
})
afterEach(() => store.dispose())

/** Kept, with its artifact, one after the other. */
function kept(...ids: string[]): void {
  for (const id of ids) {
    store.clock.now += 1_000
    store.raw.exec(`insert into deployments (id, app, operation, state, message, source_code_path,
      source, artifact, mode, env_names, health_timeout_ms, created_at, updated_at, creator) values ('${id}', 'hello', 'op-${id}', 'SUCCEEDED', '', 'x', 'source', 'artifact-${id}',
      'SNAPSHOT', '[]', 1000, ${store.clock.now}, ${store.clock.now}, 'ada')`)
    store.raw.exec(`insert into pins values ('artifact-${id}', '${id}')`)
    store.raw.exec(`update apps set active_deployment = '${id}'`)
  }
}

const withArtifact = async () =>
  (await store.deployments.list('hello')).filter(({ artifact }) => artifact !== null).map(({ id }) => id)

describe('R4.3 what lets artifacts of old deployments go', () => {
  it('keeps the newest and the one that runs, and the pins with them', async () => {
    kept('a', 'b', 'c', 'd')
    store.raw.exec(`update apps set active_deployment = 'a'`)
    expect(await store.deployments.letGo(2)).toBe(1)
    expect(await withArtifact()).toEqual(['d', 'c', 'a'])
    expect(await store.pins.isPinned('artifact-b')).toBe(false)
    expect(await store.pins.isPinned('artifact-a')).toBe(true)
    expect(await store.deployments.letGo(2)).toBe(0)
  })

  it('keeps the one to which an open operation goes back, by its id and not by a part of it', async () => {
    kept('1', '12', '123', '4')
    await store.admissions.request({
      id: 'op-back',
      app: 'hello',
      startedBy: 'ada',
      change: { type: 'rollback', deployment: '12' },
    })
    await store.deployments.letGo(1)
    expect(await withArtifact()).toEqual(['4', '12'])
    await store.admissions.admit({
      id: 'op-back',
      app: 'hello',
      type: 'rollback',
      byHand: null,
      workflowId: 'app/hello',
      runId: 'run',
    })
    await store.deployments.letGo(1)
    expect(await withArtifact()).toEqual(['4', '12'])
  })

  it('keeps the one of which there is still an instance', async () => {
    kept('a', 'b')
    const start = { id: 'op-a', app: 'hello', type: 'restart', workflowId: 'w', runId: 'r' } as const
    const plan = await store.admissions.admit({ ...start, byHand: { startedBy: 'ada', change: { type: 'restart' } } })
    store.raw.exec(`update instances set deployment = 'a'`)
    await store.transitions.abandon(plan.operation, {
      state: 'FAILED',
      failure: { code: 'Internal', message: 'no', undoFailures: ['still there'] },
    })
    await store.deployments.letGo(1)
    expect(await withArtifact()).toEqual(['b', 'a'])
  })
})

it('R13.8 a deployment made after the clock was set back is the newest, so that a rollback goes to the one before it', async () => {
  kept('a', 'b')
  store.clock.jump(-3_600_000)
  const plan = await admitDeploy(store, 'op-new', { id: 'c', source: 'source', health: {} })
  store.raw.exec(`update deployments set artifact = 'artifact-c' where id = 'c'`)
  for (const { id } of plan.add) await store.instances.observe(id, { observed: 'running', address: '127.0.0.1:1' })
  await store.transitions.commit(plan)
  await store.transitions.finish(plan)
  expect((await store.deployments.list('hello')).map(({ id }) => id)).toEqual(['c', 'b', 'a'])
  expect(await store.admissions.dryRun('hello', { type: 'rollback' })).toMatchObject({ deployment: 'b' })
})

describe('an update', () => {
  it('R10.2 is named by its app in the transaction that writes its operation down, so that no death can lose it', async () => {
    kept('a')
    const change = { type: 'resize', instances: 2 } as const
    await store.admissions.request({ id: 'op-up', app: 'hello', startedBy: 'ada', change, update: true })
    expect(await store.apps.lastUpdate('hello')).toEqual({ operation: 'op-up' })
    // One that was done at once does not hide one that runs.
    await store.appSettings.set('hello', {}, { update: true })
    expect(await store.apps.lastUpdate('hello')).toEqual({ operation: 'op-up' })
    await store.operations.refuse('op-up', { code: 'Unavailable', message: 'Temporal is down' })
    await store.appSettings.set('hello', {}, { update: true })
    expect(await store.apps.lastUpdate('hello')).toEqual({ operation: null })
  })

  it('that is refused leaves the last one named', async () => {
    kept('a')
    const change = { type: 'resize', instances: 99 } as const
    await expect(
      store.admissions.request({ id: 'op-up', app: 'hello', startedBy: 'ada', change, update: true }),
    ).rejects.toMatchObject({ code: 'LimitExceeded' })
    expect(await store.apps.lastUpdate('hello')).toBeNull()
  })
})

describe('R3.7 the environment of a deployment', () => {
  it.each([
    { given: 'one variable', env: [{ name: 'GREETING', value: 'hello' }] },
    { given: 'none', env: [] },
  ])('is what it was given ($given), and that of one that there is not is empty', async ({ env }) => {
    const { deployment } = await store.admissions.admit({
      id: 'op-1',
      app: 'hello',
      type: 'deploy',
      workflowId: 'w',
      runId: 'r',
      byHand: {
        startedBy: 'ada',
        change: { type: 'deploy' },
        deployment: {
          sourceCodePath: 'x',
          source: null,
          command: null,
          env,
          health: { path: null, timeoutMs: 1 },
          creator: 'ada',
        },
      },
    })
    expect(await store.deployments.env(deployment as string)).toEqual(env)
    expect(await store.deployments.env('ghost')).toEqual([])
  })
})

describe('R13.3 the id that a client gave to a deployment', () => {
  it('is refused when another one has it, also of two calls at once and of another app, and nothing begins', async () => {
    await store.apps.create({ name: 'other', mode: 'scaled', instances: 1, creator: 'ada' })
    const deploy = (app: string, operation: string) =>
      store.admissions.request({
        id: operation,
        app,
        startedBy: 'ada',
        change: { type: 'deploy' },
        deployment: {
          id: 'mine',
          sourceCodePath: 'x',
          source: null,
          command: null,
          env: [],
          health: {},
          creator: 'ada',
        },
      })
    const [first, second] = await Promise.allSettled([deploy('hello', 'op-1'), deploy('other', 'op-2')])
    expect(first).toMatchObject({ status: 'fulfilled' })
    expect(second).toMatchObject({ reason: { code: 'AlreadyExists', details: { field: 'deployment_id' } } })
    expect((await store.apps.get('other'))?.operation).toBeNull()
    // Who asks again while it runs is told of the deployment, which is there, not of an operation to wait for.
    await expect(deploy('hello', 'op-3')).rejects.toMatchObject({ code: 'AlreadyExists' })
    expect((await store.operations.list()).map(({ id }) => id)).toEqual(['op-1'])
  })
})
