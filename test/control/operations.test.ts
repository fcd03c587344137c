import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { TASK_QUEUE } from '../../domain/product.ts'
import { startTestControl, type TestControl } from './control.ts'
import type { TestTemporal } from './temporal.ts'
import { withoutWorker } from './without-worker.ts'

let temporal: TestTemporal
let control: TestControl
let app: string

withoutWorker((parts) => {
  ;({ temporal, control, app } = parts)
})
beforeEach(() => control.call('POST', '/api/2.0/apps', { name: app }))

const deploy = (name = app, more: object = {}) =>
  control.call('POST', `/api/2.0/apps/${name}/deployments`, { source_code_path: 'shop', ...more })

const running = (name: string) => temporal.client.workflow.getHandle(`app/${name}`)

/** The saga's part, without a worker: up to and with its pivot. */
async function passPivot(operation: string, name: string): Promise<void> {
  const { store } = control
  const admission = {
    id: operation,
    app: name,
    type: 'deploy',
    byHand: { startedBy: 'x', change: { type: 'deploy' } },
    workflowId: '',
    runId: '',
  } as const
  const plan = await store.admissions.admit(admission)
  for (const { id } of plan.add)
    await store.instances.observe(id, { observed: 'running', address: '127.0.0.1:20001', pid: 1 })
  await store.transitions.commit(plan)
}

describe('starting an operation', () => {
  it("R10.4 starts one workflow of the operation's type with the id app/<name>", async () => {
    const { status, body } = await deploy()
    expect(status).toBe(200)
    expect(body).toMatchObject({ deployment_id: expect.any(String), status: { state: 'IN_PROGRESS' } })
    const workflow = await running(app).describe()
    expect(workflow).toMatchObject({ type: 'deploy', taskQueue: TASK_QUEUE, status: { name: 'RUNNING' } })
    const operation = await control.store.operations.get(body.operation)
    expect(operation).toMatchObject({ state: 'REQUESTED', workflowId: `app/${app}`, runId: workflow.runId })
  })

  it('R3.7 no value of the environment enters Temporal, an answer, an event or a log; only names are shown', async () => {
    const secret = 'correct-horse-battery-staple'
    const answer = await deploy(app, { env_vars: [{ name: 'PASSWORD', value: secret }] })
    expect(answer.body.env_vars).toEqual([{ name: 'PASSWORD' }])
    const listed = await control.call('GET', `/api/2.0/apps/${app}/deployments`)
    const got = await control.call('GET', `/api/2.0/apps/${app}`)
    expect(got.body.pending_deployment.env_vars).toEqual([{ name: 'PASSWORD' }])
    const history = await running(app).fetchHistory()
    const input = history.events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads?.[0]?.data
    expect(JSON.parse(Buffer.from(input as Uint8Array).toString())).toEqual({ app, operation: answer.body.operation })
    const events = await control.store.events.after(0, { app })
    expect(events.length).toBeGreaterThan(0)
    for (const place of [answer, listed, got, events, await running(app).describe()])
      expect(JSON.stringify(place, (_key, value) => (typeof value === 'bigint' ? String(value) : value))).not.toContain(
        secret,
      )
    // Kept for the app's start all the same.
    expect(await control.store.deployments.env(answer.body.deployment_id)).toEqual([
      { name: 'PASSWORD', value: secret },
    ])
  })

  it('R10.3 a second one on the app is refused with who is running what, and changes nothing', async () => {
    const first = await deploy()
    const before = await control.call('GET', `/api/2.0/apps/${app}`)
    for (const second of [
      await deploy(),
      await control.call('POST', `/api/2.0/apps/${app}/stop`),
      await control.call('DELETE', `/api/2.0/apps/${app}`),
    ]) {
      expect(second.status).toBe(409)
      expect(second.body.error_code).toBe('RESOURCE_CONFLICT')
      expect(second.body.message).toContain(`deploy (${first.body.operation}) by admin`)
    }
    expect(await control.call('GET', `/api/2.0/apps/${app}`)).toEqual(before)
  })

  it('R10.3 two at once: exactly one is accepted, twenty times', async () => {
    for (let round = 0; round < 20; round++) {
      const name = `race-${round}`
      await control.call('POST', '/api/2.0/apps', { name })
      const statuses = (await Promise.all([deploy(name), deploy(name)])).map(({ status }) => status)
      expect(statuses.sort()).toEqual([200, 409])
    }
  })

  it('R10.3 waits for a workflow that has ended in the inventory to close, and then starts', async () => {
    const first = await deploy()
    await control.store.operations.refuse(first.body.operation, { code: 'Cancelled', message: 'ended' })
    const second = deploy()
    await sleep(300)
    await running(app).terminate('it closes now')
    const { status, body } = await second
    expect(status).toBe(200)
    expect((await running(app).describe()).runId).toBe((await control.store.operations.get(body.operation))?.runId)
  })

  it('R10.3 refuses after 5 s when that workflow does not close, naming it, and gives the app back', async () => {
    const first = await deploy()
    await control.store.operations.refuse(first.body.operation, { code: 'Cancelled', message: 'ended' })
    const second = await deploy()
    expect(second.status).toBe(409)
    expect(second.body.message).toContain(`the workflow deploy (app/${app}, run `)
    expect((await control.store.apps.get(app))?.operation).toBeNull()
    const [refused] = await control.store.operations.list({ app })
    expect(refused).toMatchObject({ state: 'FAILED', failure: { code: 'OperationInProgress' } })
  })

  it('R12.4 without Temporal it is refused with 503 and the reason within seconds; the app is as it was', async () => {
    const alone = await startTestControl()
    try {
      await mkdir(join(alone.sources, 'shop'))
      await alone.call('POST', '/api/2.0/apps', { name: 'shop' })
      const before = await alone.call('GET', '/api/2.0/apps/shop')
      const answer = await alone.call('POST', '/api/2.0/apps/shop/deployments', { source_code_path: 'shop' })
      expect(answer.status).toBe(503)
      expect(answer.body).toMatchObject({ error_code: 'TEMPORARILY_UNAVAILABLE', coppice: { retryable: true } })
      expect(answer.body.message).toContain('Temporal at 127.0.0.1:1 cannot be reached')
      const after = await alone.call('GET', '/api/2.0/apps/shop')
      expect({ ...after.body, update_time: null }).toEqual({ ...before.body, update_time: null })
    } finally {
      await alone.stop()
    }
  })
})

describe('cancelling an operation', () => {
  it('R10.4 before the pivot asks the workflow to take everything back', async () => {
    const { body } = await deploy()
    const answer = await control.call('POST', `/api/coppice/v1/operations/${body.operation}/cancel`)
    expect(answer.status).toBe(200)
    const history = await running(app).fetchHistory()
    expect(history.events?.some((event) => event.workflowExecutionCancelRequestedEventAttributes != null)).toBe(true)
  })

  it('R10.4 after the pivot the answer is "too late", and the workflow hears nothing of it', async () => {
    const { body } = await deploy()
    await passPivot(body.operation, app)
    const answer = await control.call('POST', `/api/coppice/v1/operations/${body.operation}/cancel`)
    expect(answer.status).toBe(409)
    expect(answer.body.coppice.code).toBe('TooLateToCancel')
    const history = await running(app).fetchHistory()
    expect(history.events?.some((event) => event.workflowExecutionCancelRequestedEventAttributes != null)).toBe(false)
  })

  it('of one that has ended, or that nobody knows, is refused', async () => {
    const { body } = await deploy()
    await control.store.operations.refuse(body.operation, { code: 'Cancelled', message: 'ended' })
    const ended = await control.call('POST', `/api/coppice/v1/operations/${body.operation}/cancel`)
    expect([ended.status, ended.body.coppice.code]).toEqual([409, 'OperationEnded'])
    const unknown = await control.call('POST', '/api/coppice/v1/operations/op-1/cancel')
    expect([unknown.status, unknown.body.coppice.code]).toEqual([404, 'NotFound'])
  })
})

it('R9.3 an operation shows its steps in plain words with times, without any worker', async () => {
  const { body } = await deploy()
  await passPivot(body.operation, app)
  const { body: operation } = await control.call('GET', `/api/coppice/v1/operations/${body.operation}`)
  expect(operation).toMatchObject({ id: body.operation, app, type: 'deploy', state: 'RUNNING', phase: 'committed' })
  expect(operation.steps).toEqual([
    expect.objectContaining({ words: 'Switch over', state: 'done', duration_ms: expect.any(Number) }),
  ])
})
