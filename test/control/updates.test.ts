/** The asynchronous update on a real Temporal without a worker: what is started, refused, foretold. */
import { describe, expect, it } from 'vitest'
import { SHED_RANKS } from '../../domain/affinity.ts'
import type { TestControl } from './control.ts'
import type { TestTemporal } from './temporal.ts'
import { withoutWorker } from './without-worker.ts'

let temporal: TestTemporal
let control: TestControl
let app: string

withoutWorker(
  (parts) => {
    ;({ temporal, control, app } = parts)
  },
  { COPPICE_MAX_SCALED_APPS: '100' },
)

const counts = (n: number) => ({ compute_min_instances: n, compute_max_instances: n })
const COUNTS = 'compute_min_instances,compute_max_instances'
const create = (instances: number | null) =>
  control.call('POST', '/api/2.0/apps', { name: app, ...(instances !== null && counts(instances)) })
const update = (mask: string, body: object, query = '') =>
  control.call('POST', `/api/2.0/apps/${app}/update${query}`, { app: body, update_mask: mask })
const status = async () => (await control.call('GET', `/api/2.0/apps/${app}/update`)).body.status

/** The saga's part, without a worker. */
async function complete(operation: string): Promise<void> {
  const { admissions, transitions, operations } = control.store
  const type = (await operations.get(operation))?.type as 'convert'
  const plan = await admissions.admit({ id: operation, app, type, byHand: null, workflowId: 'w', runId: 'r' })
  await transitions.commit(plan)
  await transitions.finish(plan)
}

describe('an update', () => {
  it('R5.1 is IN_PROGRESS while its workflow runs and SUCCEEDED afterwards, with what it recommends', async () => {
    await create(null)
    expect(await status()).toEqual({ state: 'NOT_UPDATED', message: expect.any(String) })
    const { status: http, body } = await update(COUNTS, counts(1))
    expect(http).toBe(200)
    expect(body).toMatchObject({ ...counts(1), status: { state: 'IN_PROGRESS' }, operation: expect.any(String) })
    const workflow = await temporal.client.workflow.getHandle(`app/${app}`).describe()
    expect(workflow.type).toBe('convert')
    expect((await control.call('GET', `/api/2.0/apps/${app}`)).body.compute_status.state).toBe('UPDATING')
    await complete(body.operation)
    expect(await status()).toMatchObject({
      state: 'SUCCEEDED',
      message: expect.stringContaining('2 or more instances are recommended'),
    })
    expect((await control.call('GET', `/api/2.0/apps/${app}`)).body).toMatchObject({
      ...counts(1),
      effective_compatibility_flags: ['PREINSTALLED_PACKAGES_LEGACY'],
    })
  })

  it('R5.6 that failed says why, and one of the description alone is SUCCEEDED at once', async () => {
    await create(2)
    const { body } = await update('compute_size', { compute_size: 'LARGE' })
    await control.store.operations.refuse(body.operation, {
      code: 'AppCrashedAtStart',
      message: 'It ended',
      step: 'Start',
    })
    expect(await status()).toMatchObject({
      state: 'FAILED',
      message: expect.stringMatching(/resize .*step "Start": It ended/),
    })
    expect((await update('description', { description: 'new' })).body).toMatchObject({
      description: 'new',
      status: { state: 'SUCCEEDED' },
    })
    expect(await status()).toMatchObject({ state: 'SUCCEEDED' })
  })

  it('R10.3 while another operation runs is refused with who is running what, and changes nothing, not even the description', async () => {
    await create(2)
    const first = await update(COUNTS, counts(3))
    const second = await update(`description,${COUNTS}`, { description: 'sneaked in', ...counts(4) })
    expect(second).toMatchObject({ status: 409, body: { error_code: 'RESOURCE_CONFLICT' } })
    expect(second.body.message).toMatch(/resize \(op-.*\) by admin runs/)
    expect((await control.call('GET', `/api/2.0/apps/${app}`)).body.description).toBe('')
    expect((await control.call('GET', `/api/2.0/apps/${app}/update`)).body.operation).toBe(first.body.operation)
  })

  it('R10.3 is judged by what runs, not by what the app is meanwhile; a description alone goes through', async () => {
    await create(null)
    await update(COUNTS, counts(1))
    expect(await update(COUNTS, counts(3))).toMatchObject({
      status: 409,
      body: { message: expect.stringMatching(/convert \(op-/) },
    })
    expect((await update('description', { description: 'new' })).body.description).toBe('new')
    // Whoever waits for the conversion is not told that it is over.
    expect(await status()).toMatchObject({ state: 'IN_PROGRESS' })
  })

  it('R5.0 R2.3 that is not allowed starts nothing', async () => {
    await create(null)
    const refused = await update(COUNTS, counts(2))
    expect(refused).toMatchObject({ status: 400, body: { error_code: 'INVALID_STATE' } })
    expect(refused.body.message).toContain('convert with 1 first')
    app = `${app}-more`
    await create(2)
    expect((await update(COUNTS, counts(6))).body).toMatchObject({
      error_code: 'RESOURCE_LIMIT_EXCEEDED',
      message: expect.stringContaining('coppice workspace set --max-instances-per-app'),
    })
    expect((await update(COUNTS, { compute_min_instances: 1, compute_max_instances: 2 })).body.message).toMatch(/fixed/)
    expect(await control.store.operations.list({ app })).toEqual([])
  })

  it('R5.4 without the flag leaves the libraries away from the next deployment on, at once and without an operation', async () => {
    await create(null)
    await complete((await update(COUNTS, counts(1))).body.operation)
    expect((await update('compatibility_flags', { compatibility_flags: [] })).body.status.state).toBe('SUCCEEDED')
    expect((await control.call('GET', `/api/2.0/apps/${app}`)).body).not.toHaveProperty('effective_compatibility_flags')
    expect((await control.store.apps.get(app))?.preinstalled).toBe(false)
    expect(await control.store.operations.list({ app })).toHaveLength(1)
    const back = await update('compatibility_flags', { compatibility_flags: ['PREINSTALLED_PACKAGES_LEGACY'] })
    expect(back.body.message).toContain('never added')
  })

  it('R6.1 as a dry run tells what would be done and what it would be refused for, and does nothing', async () => {
    await create(2)
    const before = await control.call('GET', `/api/2.0/apps/${app}`)
    expect((await update(COUNTS, counts(4), '?dry_run=true')).body).toMatchObject({
      ...counts(4),
      status: { state: 'NOT_UPDATED' },
      dry_run: { operation: 'resize', sessions: { total: 0, moved: 0 } },
    })
    expect((await update(COUNTS, counts(6), '?dry_run=true')).body.error_code).toBe('RESOURCE_LIMIT_EXCEEDED')
    expect(await control.call('GET', `/api/2.0/apps/${app}`)).toEqual(before)
    expect(await status()).toMatchObject({ state: 'NOT_UPDATED' })
  })
})

describe('sessions', () => {
  it('R8.2 R8.3 are told by slot, foretold for a resize, and rebalanced with what has moved', async () => {
    await create(2)
    const { store } = control
    const id = `op-${app}`
    const plan = await store.admissions.admit({
      id,
      app,
      type: 'deploy',
      workflowId: 'w',
      runId: 'r',
      byHand: {
        startedBy: 'x',
        change: { type: 'deploy' },
        deployment: {
          sourceCodePath: 'x',
          source: null,
          command: null,
          env: [],
          health: { path: null, timeoutMs: 1 },
          creator: 'x',
        },
      },
    })
    for (const [i, one] of plan.add.entries())
      await store.instances.observe(one.id, { observed: 'running', address: `127.0.0.1:${20_100 + i}` })
    await store.transitions.commit(plan)
    await store.transitions.finish(plan)
    const [first, second] = plan.add.map((one) => one.id) as [string, string]
    const report = (rebalanced: Record<string, number>) =>
      control.call('POST', '/api/coppice/v1/routers/report', {
        router: 'r1',
        incarnation: 'i1',
        inventory: store.inventory,
        version: 0,
        inFlight: {},
        processes: 1,
        address: 'http://127.0.0.1:18080',
        sessions: { [first]: 30, [second]: 10 },
        // The other ones have keys that clients chose.
        sessionRanks: { [first]: Array.from({ length: SHED_RANKS }, (_, rank) => (rank < 24 ? 1 : 0)) },
        rebalanced,
      })
    await report({})
    const path = `/api/coppice/v1/apps/${app}`
    expect((await control.call('GET', `${path}/sessions`)).body).toEqual({
      sessions: 40,
      slots: [
        { slot: 0, instance: first, sessions: 30 },
        { slot: 1, instance: second, sessions: 10 },
      ],
    })
    const moved = async (n: number) => (await update(COUNTS, counts(n), '?dry_run=true')).body.dry_run.sessions
    expect([await moved(1), await moved(4)]).toEqual([
      { total: 40, moved: 10 },
      { total: 40, moved: 20 },
    ])
    expect((await update('compute_size', { compute_size: 'LARGE' }, '?dry_run=true')).body.dry_run).toMatchObject({
      instances: { add: 2, keep: 0, remove: 2 },
      sessions: { moved: 0 },
    })
    expect((await control.call('POST', `${path}/rebalance`)).body).toEqual({ epoch: 1, at_most: 10, moved: 0 })
    await report({ [`${app}/1`]: 7 })
    expect((await control.call('GET', `${path}/rebalance`)).body).toEqual({ epoch: 1, at_most: 10, moved: 7 })
    await control.call('DELETE', '/api/coppice/v1/routers/r1')
  })
})

describe('the health check of an app', () => {
  const SET = { path: '/health', timeout: '90s', silence_timeout: '30s' }
  const DEFAULT = { timeout: '60s', silence_timeout: '15s' }
  const path = () => `/api/2.0/apps/${app}`
  const now = async () => (await control.call('GET', path())).body.health_check

  it('R12.2 is set with the app, by its update and by PATCH, as a whole and in parts, and shown by all', async () => {
    await create(2)
    expect(await now()).toEqual(DEFAULT)
    expect((await update('health_check', { health_check: SET })).body).toMatchObject({
      health_check: SET,
      status: { state: 'SUCCEEDED' },
    })
    expect(await now()).toEqual(SET)
    await update('health_check.path', {})
    expect(await now()).toEqual({ timeout: '90s', silence_timeout: '30s' })
    const patched = await control.call('PATCH', path(), { health_check: { path: '/ready', silence_timeout: '1s' } })
    expect(patched.body.health_check).toEqual({ path: '/ready', timeout: '90s', silence_timeout: '1s' })
    // What a client has read it may send back.
    const { name, health_check } = patched.body
    expect((await control.call('PATCH', path(), { name, health_check })).body.health_check).toEqual(health_check)
    await update('*', { description: 'by a client that knows no such field', ...counts(2) })
    expect(await now()).toEqual(patched.body.health_check)
    const made = await control.call('POST', '/api/2.0/apps', { name: `${app}-made`, health_check: { path: '/up' } })
    expect(made.body.health_check).toEqual({ ...DEFAULT, path: '/up' })
    const copied = await control.call('POST', `/api/coppice/v1/apps/${app}/duplicate`, { name: `${app}-twin` })
    expect(copied.body.health_check).toEqual(patched.body.health_check)
  })

  it('R6.1 changes together with an operation, and a dry run changes nothing of it', async () => {
    await create(2)
    await update('health_check', { health_check: SET }, '?dry_run=true')
    expect(await now()).toEqual(DEFAULT)
    const both = await update(`${COUNTS},health_check.silence_timeout`, {
      ...counts(3),
      health_check: { silence_timeout: '60s' },
    })
    const wanted = { ...DEFAULT, silence_timeout: '60s' }
    // What was asked for is shown from the start, and comes to be with the operation.
    expect(both.body).toMatchObject({ operation: expect.any(String), health_check: wanted })
    expect(await now()).toEqual(DEFAULT)
    await complete(both.body.operation)
    expect(await now()).toEqual(wanted)
  })
})

describe('R13.3 an update is 400 with the field for', () => {
  it.each([
    ['no mask', { app: {} }, 'update_mask'],
    ['no app', { update_mask: '*' }, 'app'],
    ['an unknown field', { app: { replicas: 2 }, update_mask: '*' }, 'app.replicas'],
    ['a size there is not', { app: { compute_size: 'HUGE' }, update_mask: 'compute_size' }, 'app.compute_size'],
    ['a flag there is not', { app: { compatibility_flags: ['X'] }, update_mask: '*' }, 'app.compatibility_flags.0'],
    [
      'a silence of an hour and more',
      { app: { health_check: { silence_timeout: '3600.5s' } }, update_mask: 'health_check' },
      'app.health_check.silence_timeout',
    ],
    ['one count', { app: { compute_min_instances: 1 }, update_mask: '*' }, 'app.compute_max_instances'],
  ])('%s', async (_words, body, field) => {
    await create(2)
    const answer = await control.call('POST', `/api/2.0/apps/${app}/update`, body)
    expect(answer).toMatchObject({ status: 400, body: { error_code: 'INVALID_PARAMETER_VALUE', coppice: { field } } })
  })
})

describe('a duplicate', () => {
  it('R5.5 copies configuration under a new name, secrets by choice, and refuses what is taken or unknown', async () => {
    await create(2)
    await control.call('PUT', `/api/coppice/v1/apps/${app}/secrets/key`, { value: 's3cret' })
    const path = `/api/coppice/v1/apps/${app}/duplicate`
    const { status, body } = await control.call('POST', path, { name: `${app}-copy` })
    expect(status).toBe(200)
    expect(body).toMatchObject({ ...counts(2), compute_status: { state: 'STOPPED' } })
    expect((await control.call('GET', `/api/coppice/v1/apps/${app}-copy/secrets`)).body.secrets).toEqual([])
    await control.call('POST', path, { name: `${app}-full`, with_secrets: true })
    expect((await control.call('GET', `/api/coppice/v1/apps/${app}-full/secrets`)).body.secrets).toMatchObject([
      { name: 'key' },
    ])
    expect((await control.call('POST', path, { name: `${app}-copy` })).status).toBe(409)
    expect((await control.call('POST', '/api/coppice/v1/apps/nope/duplicate', { name: 'x-copy' })).status).toBe(404)
    expect((await control.call('POST', path, { name: 'Not A Name' })).body.coppice.field).toBe('name')
  })
})

describe('a rollback or rebalance without a reason', () => {
  it('is refused in words', async () => {
    await create(2)
    const path = `/api/coppice/v1/apps/${app}`
    expect((await control.call('POST', `${path}/rollback`)).body.message).toMatch(/no earlier deployment/)
    expect((await control.call('POST', `${path}/rollback`, { deployment: 'x' })).body.coppice.field).toBe('deployment')
    expect((await control.call('POST', `${path}/rebalance`)).body.message).toMatch(/nothing to rebalance/)
    expect((await control.call('GET', `${path}/rebalance`)).status).toBe(404)
    expect((await control.call('GET', `${path}/sessions`)).body).toEqual({ sessions: 0, slots: [] })
  })
})
