import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Plan } from '../domain/plan.ts'
import type { Admission } from './admissions.ts'
import type { NewDeployment } from './deployments.ts'
import { openTestStore, startRival, type TestStore } from './testing.ts'

const source: NewDeployment = {
  sourceCodePath: 'examples/hello',
  source: null,
  command: null,
  env: [],
  health: { path: null, timeoutMs: 1000 },
  creator: 'somebody',
}
const failure = { code: 'BuildFailed', message: 'npm failed' } as const

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
})
afterEach(() => store.dispose())

const deployByHand = (id: string, instances?: number): Admission => ({
  id,
  app: 'hello',
  type: 'deploy',
  workflowId: 'app/hello',
  runId: 'run',
  byHand: {
    startedBy: 'somebody',
    change: { type: 'deploy' },
    deployment: source,
    ...(instances !== undefined && { instances }),
  },
})
const requested = (id: string, type: Admission['type']): Admission => ({ ...deployByHand(id), type, byHand: null })

async function bringUp(plan: Plan): Promise<void> {
  for (const [index, { id }] of plan.add.entries())
    await store.instances.observe(id, { observed: 'running', address: `127.0.0.1:${20_000 + index}` })
}

async function deployed(id = 'op-00000001', instances = 2): Promise<Plan> {
  const plan = await store.admissions.admit(deployByHand(id, instances))
  await bringUp(plan)
  await store.transitions.commit(plan)
  await store.transitions.finish(plan)
  return plan
}

const endpoints = async () => (await store.routes.table({ domains: ['localhost'] })).apps[0]?.endpoints ?? []

describe('the pivot', () => {
  it('R10.1 shows nothing of the new instances in the routes before it, and all of them at once after it', async () => {
    const old = await deployed()
    const plan = await store.admissions.admit(deployByHand('op-00000002'))
    await bringUp(plan)
    expect((await endpoints()).map((endpoint) => endpoint.instance)).toEqual(old.add.map(({ id }) => id))

    const { version } = await store.transitions.commit(plan)
    expect(await store.routes.version()).toBe(version)
    const after = await endpoints()
    expect(after.filter(({ state }) => state === 'serving').map(({ instance }) => instance)).toEqual(
      plan.add.map(({ id }) => id),
    )
    expect(after.filter(({ state }) => state === 'draining').map(({ instance }) => instance)).toEqual(
      old.add.map(({ id }) => id),
    )
  })

  it('R10.2 gives a rerun of it the same version and does nothing twice', async () => {
    const plan = await store.admissions.admit(deployByHand('op-00000001', 2))
    await bringUp(plan)
    const first = await store.transitions.commit(plan)
    expect(await store.transitions.commit(plan)).toEqual(first)
    expect(await store.routes.version()).toBe(first.version)
  })

  it('refuses to let an instance serve that is not there', async () => {
    const plan = await store.admissions.admit(deployByHand('op-00000001', 1))
    await expect(store.transitions.commit(plan)).rejects.toThrow(/is to serve but is not there/)
    expect((await store.operations.get('op-00000001'))?.phase).toBe('compensable')
  })
})

describe('the pivot, of an instance that was healthy and does not run any more,', () => {
  const lost = { code: 'InstanceLost', message: expect.stringMatching(/slot 1 .*exit code 7/) }
  let old: Plan
  let plan: Plan
  beforeEach(async () => {
    old = await deployed()
    plan = await store.admissions.admit(deployByHand('op-00000002'))
    await bringUp(plan)
  })

  /** Nothing was switched, and the undo leaves the old ones serving. */
  async function nothingHappened(): Promise<void> {
    expect((await store.operations.get(plan.operation))?.phase).toBe('compensable')
    await store.transitions.abandon(plan.operation, { state: 'FAILED', failure })
    expect((await endpoints()).map(({ instance, state }) => `${instance} ${state}`)).toEqual(
      old.add.map(({ id }) => `${id} serving`),
    )
  }

  it.each(['crashed', 'crashLoop', 'starting', 'suspended', 'gone'] as const)(
    'R3.3 switches nothing over and tells its last lines when it is written down as %s',
    async (observed) => {
      const last = { message: 'It crashed with exit code 7.', logLines: ['no database'] }
      await store.instances.observe(plan.add[1]?.id as string, { observed, ...last })
      const details = expect.objectContaining({ logLines: ['no database'] })
      await expect(store.transitions.commit(plan)).rejects.toMatchObject({ ...lost, details })
      await nothingHappened()
    },
  )

  it('R3.3 switches nothing over when the worker sees it down and nobody has written that down', async () => {
    const ended = [
      { id: plan.add[1]?.id as string, message: 'It crashed with exit code 7.', logLines: ['no database'] },
    ]
    const details = expect.objectContaining({ logLines: ['no database'] })
    await expect(store.transitions.commit(plan, ended)).rejects.toMatchObject({ ...lost, details })
    await nothingHappened()
  })

  it('R10.2 gives a rerun its outcome: what has been switched over stays so', async () => {
    const first = await store.transitions.commit(plan)
    const id = plan.add[1]?.id as string
    await store.instances.observe(id, { observed: 'crashed' })
    expect(await store.transitions.commit(plan, [{ id, message: 'It crashed.', logLines: [] }])).toEqual(first)
  })

  it('R6.1 lets a change go on that keeps it: it serves before and after', async () => {
    await store.transitions.commit(plan)
    await store.transitions.finish(plan)
    await store.instances.observe(plan.add[1]?.id as string, { observed: 'crashed' })
    const change = { type: 'resize', instances: 3 } as const
    const more = await store.admissions.admit({
      ...requested('op-00000003', 'resize'),
      byHand: { startedBy: 'ada', change },
    })
    await bringUp(more)
    await store.transitions.commit(more)
    expect(await endpoints()).toHaveLength(3)
  })

  it('R10.1 lets a stop go on, which adds nothing', async () => {
    await store.transitions.abandon(plan.operation, { state: 'FAILED', failure })
    for (const { id } of old.add) await store.instances.observe(id, { observed: 'crashed' })
    const stop = await store.admissions.admit({
      ...requested('op-00000003', 'stop'),
      byHand: { startedBy: 'ada', change: { type: 'stop' } },
    })
    await store.transitions.commit(stop)
    await store.transitions.finish(stop)
    expect(await endpoints()).toEqual([])
  })
})

describe('the fence', () => {
  it('R10.3 refuses a second operation and names the one that runs', async () => {
    await deployed()
    await store.admissions.request({ id: 'op-00000002', app: 'hello', change: { type: 'restart' }, startedBy: 'ada' })
    await expect(store.admissions.admit(deployByHand('op-00000003'))).rejects.toThrow(
      /restart \(op-00000002\) by ada runs since/,
    )
    await expect(
      store.admissions.request({ id: 'op-00000004', app: 'hello', change: { type: 'stop' }, startedBy: 'bob' }),
    ).rejects.toThrow(/restart \(op-00000002\) by ada/)
    expect(await store.operations.get('op-00000003')).toBeNull()
  })

  it('R10.2 keeps an activity that lives on after its operation lost the app from changing anything', async () => {
    const plan = await store.admissions.admit(deployByHand('op-00000001', 1))
    await bringUp(plan)
    const lost = await store.transitions.takeOver({ id: 'op-repair01', app: 'hello', workflowId: 'w', runId: 'r' })
    expect(lost?.id).toBe('op-00000001')
    await expect(store.transitions.commit(plan)).rejects.toMatchObject({ code: 'Fenced' })
    await expect(
      store.operations.beginStep({ operation: 'op-00000001', step: 'build', words: 'Build' }),
    ).rejects.toMatchObject({ code: 'Fenced' })
    expect(await endpoints()).toEqual([])
  })

  it('never undoes an operation that has passed its pivot', async () => {
    const plan = await store.admissions.admit(deployByHand('op-00000001', 1))
    await bringUp(plan)
    await store.transitions.commit(plan)
    await expect(store.operations.assertUndoable(plan.operation, plan.operation)).rejects.toMatchObject({
      code: 'TooLateToCancel',
    })
    await expect(store.transitions.abandon(plan.operation, { state: 'FAILED', failure })).rejects.toMatchObject({
      code: 'TooLateToCancel',
    })
    expect(await endpoints()).toHaveLength(1)
  })
})

describe('the undo', () => {
  it('R10.1 leaves the app exactly as it was, and no row of what was added', async () => {
    await deployed()
    const before = { app: await store.apps.get('hello'), table: await store.routes.table({ domains: ['localhost'] }) }
    const plan = await store.admissions.admit(deployByHand('op-00000002'))
    await store.ports.acquire(plan.add[0]?.id as string)
    await store.transitions.abandon(plan.operation, { state: 'FAILED', failure })
    expect(await store.apps.get('hello')).toEqual(before.app)
    expect(await store.routes.table({ domains: ['localhost'] })).toEqual(before.table)
    expect((await store.instances.ofApp('hello')).map(({ operation }) => operation)).toEqual([
      'op-00000001',
      'op-00000001',
    ])
    expect(await store.operations.get(plan.operation)).toMatchObject({ state: 'FAILED', failure })
    expect((await store.deployments.get(plan.deployment as string))?.state).toBe('FAILED')
  })

  it('takes an app away again that the failed operation had made', async () => {
    const plan = await store.admissions.admit(deployByHand('op-00000001', 2))
    await store.transitions.abandon(plan.operation, { state: 'FAILED', failure })
    expect(await store.apps.get('hello')).toBeNull()
    expect(await store.instances.records()).toEqual([])
    expect((await store.operations.get(plan.operation))?.state).toBe('FAILED')
  })

  it('keeps what could not be undone in the inventory as retired, for the reconciler', async () => {
    await deployed('op-00000001', 1)
    const plan = await store.admissions.admit(deployByHand('op-00000002'))
    await store.transitions.abandon(plan.operation, {
      state: 'FAILED',
      failure: { ...failure, undoFailures: ['remove instance: no'] },
    })
    expect(await store.instances.record(plan.add[0]?.id as string)).toMatchObject({
      desired: 'retired',
      operationOpen: false,
    })
  })
})

describe('the life of an app', () => {
  it('stops and starts on the same deployment without a build', async () => {
    const first = await deployed()
    const stop = await store.admissions.admit({
      ...requested('op-00000002', 'stop'),
      byHand: { startedBy: 'ada', change: { type: 'stop' } },
    })
    expect(stop).toMatchObject({ add: [], build: false, target: { desired: 'stopped' } })
    expect((await store.apps.get('hello'))?.computeState).toBe('STOPPING')
    await store.transitions.commit(stop)
    await store.transitions.finish(stop)
    expect(await store.apps.get('hello')).toMatchObject({
      computeState: 'STOPPED',
      desired: 'stopped',
      operation: null,
    })
    expect(await endpoints()).toEqual([])

    const start = await store.admissions.request({
      id: 'op-00000003',
      app: 'hello',
      change: { type: 'start' },
      startedBy: 'ada',
    })
    expect(start.state).toBe('REQUESTED')
    expect((await store.apps.get('hello'))?.computeState).toBe('STARTING')
    const plan = await store.admissions.admit(requested('op-00000003', 'start'))
    expect(plan).toMatchObject({ deployment: first.deployment, build: false })
    expect(plan.add).toHaveLength(2)
  })

  it('deletes everything that belongs to it', async () => {
    await deployed()
    const plan = await store.admissions.admit({
      ...requested('op-00000002', 'delete'),
      byHand: { startedBy: 'ada', change: { type: 'delete' } },
    })
    await store.transitions.commit(plan)
    await store.transitions.finish(plan)
    expect(await store.apps.get('hello')).toBeNull()
    expect(await store.deployments.list('hello')).toEqual([])
    expect(await store.instances.records()).toEqual([])
    expect((await store.routes.table({ domains: ['localhost'] })).apps).toEqual([])
    expect((await store.operations.get(plan.operation))?.state).toBe('SUCCEEDED')
  })

  it('gives a refused operation of the API back what it had taken', async () => {
    await deployed()
    const before = await store.apps.get('hello')
    await store.admissions.request({
      id: 'op-00000002',
      app: 'hello',
      change: { type: 'deploy' },
      startedBy: 'ada',
      deployment: source,
    })
    await store.operations.refuse('op-00000002', { code: 'Unavailable', message: 'Temporal is down' })
    expect(await store.apps.get('hello')).toEqual(before)
    const refused = (await store.deployments.list('hello')).find(({ operation }) => operation === 'op-00000002')
    expect(refused).toMatchObject({ state: 'FAILED', message: 'Temporal is down' })
  })

  it('R2.3 refuses more instances than an app may have, before anything changes', async () => {
    await expect(store.admissions.admit(deployByHand('op-00000001', 6))).rejects.toMatchObject({
      code: 'LimitExceeded',
    })
    expect(await store.apps.list()).toEqual([])
    expect(await store.operations.list()).toEqual([])
  })
})

describe('a repair', () => {
  it('R10.6 takes an operation before its pivot back', async () => {
    await deployed('op-00000001', 1)
    const plan = await store.admissions.admit(deployByHand('op-00000002'))
    const lost = await store.transitions.takeOver({ id: 'op-repair01', app: 'hello', workflowId: 'w', runId: 'r' })
    expect(lost).toMatchObject({ id: plan.operation, phase: 'compensable' })
    await store.transitions.abandon(plan.operation, { state: 'FAILED', failure }, 'op-repair01')
    expect(await store.apps.get('hello')).toMatchObject({ operation: null })
    expect((await store.operations.get('op-repair01'))?.state).toBe('SUCCEEDED')
    expect(await store.operations.open()).toEqual([])
  })

  it('R10.6 takes an operation past its pivot forward, also when the first repair was lost too', async () => {
    await deployed('op-00000001', 1)
    const plan = await store.admissions.admit(deployByHand('op-00000002'))
    await bringUp(plan)
    await store.transitions.commit(plan)
    await store.transitions.takeOver({ id: 'op-repair01', app: 'hello', workflowId: 'w', runId: 'r' })
    const lost = await store.transitions.takeOver({ id: 'op-repair02', app: 'hello', workflowId: 'w', runId: 'r' })
    expect(lost).toMatchObject({ id: plan.operation, phase: 'committed' })
    await store.transitions.finish(plan, 'op-repair02')
    expect(await store.operations.open()).toEqual([])
    expect((await store.operations.get(plan.operation))?.state).toBe('SUCCEEDED')
    expect((await endpoints()).map(({ instance }) => instance)).toEqual(plan.add.map(({ id }) => id))
    expect(
      await store.transitions.takeOver({ id: 'op-repair03', app: 'hello', workflowId: 'w', runId: 'r' }),
    ).toBeNull()
  })
})

describe('two processes', () => {
  it('R10.3 lets exactly one of two racing operations in, 50 times', async () => {
    await deployed('op-00000000', 1)
    const rival = await startRival(store.home)
    try {
      for (let i = 1; i <= 50; i++) {
        const request = (door: string) => ({
          id: `op-${i}-${door}`,
          app: 'hello',
          change: { type: 'restart' as const },
          startedBy: door,
        })
        const theirs = rival.request(request('there'))
        const ours = store.admissions.request(request('here')).then(
          () => 'won',
          (error: { code: string }) => error.code,
        )
        expect([await ours, await theirs].toSorted()).toEqual(['OperationInProgress', 'won'])
        await store.operations.refuse((await store.apps.get('hello'))?.operation as string, failure)
      }
    } finally {
      await rival.stop()
    }
  })

  it('notices what the other one changed', async () => {
    const rival = await startRival(store.home)
    const seen = store.watch.until(async () => ((await store.apps.get('late')) === null ? null : 'seen'))
    try {
      await rival.create('late')
      expect(await seen).toBe('seen')
    } finally {
      await rival.stop()
    }
  })
})
