import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SHED_RANKS } from '../domain/affinity.ts'
import type { Plan } from '../domain/plan.ts'
import type { RequestedChange } from './admissions.ts'
import { openTestStore, startRival, type TestStore } from './testing.ts'

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
})
afterEach(() => store.dispose())

let count = 0
/** An operation up to its pivot, which is left to the test. */
async function admitted(app: string, change: RequestedChange): Promise<Plan> {
  const id = `op-${String(++count).padStart(8, '0')}`
  const plan = await store.admissions.admit({
    id,
    app,
    type: change.type,
    workflowId: 'w',
    runId: 'r',
    byHand: {
      startedBy: 'ada',
      change,
      ...(change.type === 'deploy' && {
        deployment: {
          sourceCodePath: 'x',
          source: null,
          command: null,
          env: [],
          health: { path: null, timeoutMs: 1 },
          creator: 'ada',
        },
      }),
    },
  })
  for (const [index, instance] of plan.add.entries())
    await store.instances.observe(instance.id, { observed: 'running', address: `127.0.0.1:${20_000 + index}` })
  return plan
}

async function finished(app: string, change: RequestedChange): Promise<Plan> {
  const plan = await admitted(app, change)
  await store.transitions.commit(plan)
  await store.transitions.finish(plan)
  return plan
}

const create = (name: string, instances: number | null = null) =>
  store.apps.create({
    name,
    mode: instances === null ? 'standard' : 'scaled',
    instances: instances ?? 1,
    creator: 'ada',
  })

const failure = { state: 'FAILED', failure: { code: 'AppCrashedAtStart', message: 'no' } } as const
const app = async (name: string) =>
  (await store.apps.get(name)) as NonNullable<Awaited<ReturnType<typeof store.apps.get>>>

describe('a conversion', () => {
  it('R5.2 sets the number of instances to 1, brings one new instance and takes all others away', async () => {
    await create('hello')
    await finished('hello', { type: 'deploy' })
    const plan = await finished('hello', { type: 'convert', mode: 'scaled' })
    expect(plan).toMatchObject({ build: false, add: [{ slot: 0 }], remove: [{ slot: 0 }], target: { instances: 1 } })
    expect(await app('hello')).toMatchObject({ mode: 'scaled', instances: 1, place: true })
    const table = await store.routes.table({ domains: [] })
    expect(table.apps[0]).toMatchObject({ affinity: true, endpoints: [{ instance: plan.add[0]?.id }] })
  })

  it('R5.3 goes back from any number of instances and gives the place back at its pivot, not before', async () => {
    await create('hello', 3)
    await finished('hello', { type: 'deploy' })
    const plan = await admitted('hello', { type: 'convert', mode: 'standard' })
    expect(plan.remove).toHaveLength(3)
    expect((await store.workspace.use()).scaledApps).toBe(1)
    await store.transitions.commit(plan)
    expect((await store.workspace.use()).scaledApps).toBe(0)
    await store.transitions.finish(plan)
    expect(await app('hello')).toMatchObject({ mode: 'standard', instances: 1, place: false })
  })

  it('R5.4 keeps the pre-installed libraries of a converted app; a new scaled app has none', async () => {
    await create('converted')
    await finished('converted', { type: 'convert', mode: 'scaled' })
    await create('fresh', 2)
    expect((await app('converted')).preinstalled).toBe(true)
    expect((await app('fresh')).preinstalled).toBe(false)
  })

  it('R5.6 that fails leaves the app in its old mode, and the place with nobody', async () => {
    await create('hello')
    await finished('hello', { type: 'deploy' })
    const before = await app('hello')
    const plan = await admitted('hello', { type: 'convert', mode: 'scaled' })
    expect((await store.workspace.use()).scaledApps).toBe(1)
    await store.transitions.abandon(plan.operation, failure)
    expect(await app('hello')).toEqual(before)
    expect((await store.workspace.use()).scaledApps).toBe(0)
  })

  it('R2.3 back that fails gives its place to nobody else', async () => {
    await store.workspace.change({ maxScaledApps: 1 })
    await create('hello', 1)
    await finished('hello', { type: 'deploy' })
    const plan = await admitted('hello', { type: 'convert', mode: 'standard' })
    await expect(create('rival', 2)).rejects.toMatchObject({ code: 'LimitExceeded' })
    await store.transitions.abandon(plan.operation, failure)
    await expect(create('rival', 2)).rejects.toMatchObject({ code: 'LimitExceeded' })
    expect(await app('hello')).toMatchObject({ mode: 'scaled', place: true })
  })

  it('R5.4 keeps the pre-installed libraries until the app opts out, and gives them back to a standard one', async () => {
    await create('hello')
    await expect(store.appSettings.set('hello', { preinstalled: false })).rejects.toMatchObject({
      code: 'InvalidState',
    })
    await finished('hello', { type: 'convert', mode: 'scaled' })
    expect((await app('hello')).preinstalled).toBe(true)
    await store.appSettings.set('hello', { preinstalled: false })
    expect((await app('hello')).preinstalled).toBe(false)
    await finished('hello', { type: 'resize', instances: 2 })
    expect((await app('hello')).preinstalled).toBe(false)
    await finished('hello', { type: 'convert', mode: 'standard' })
    expect((await app('hello')).preinstalled).toBe(true)
  })

  it('R5.0 of a stopped app, or one that was never deployed, only changes its mode', async () => {
    await create('hello')
    const plan = await finished('hello', { type: 'convert', mode: 'scaled' })
    expect(plan).toMatchObject({ add: [], remove: [] })
    expect((await app('hello')).mode).toBe('scaled')
  })
})

describe('a change of the number of instances', () => {
  it('R8.2 leaves those that stay alone, and needs no build', async () => {
    await create('hello', 2)
    const first = await finished('hello', { type: 'deploy' })
    const up = await finished('hello', { type: 'resize', instances: 4 })
    expect(up).toMatchObject({ build: false, add: [{ slot: 2 }, { slot: 3 }], keep: first.add, remove: [] })
    const down = await finished('hello', { type: 'resize', instances: 1 })
    expect(down).toMatchObject({ add: [], keep: [first.add[0]] })
    expect(down.remove.map(({ slot }) => slot)).toEqual([1, 2, 3])
    expect(await app('hello')).toMatchObject({ instances: 1, computeSize: 'MEDIUM' })
  })

  it('R6.1 of their size replaces them all', async () => {
    await create('hello', 2)
    await finished('hello', { type: 'deploy' })
    const plan = await finished('hello', { type: 'resize', computeSize: 'LARGE' })
    expect(plan.add).toHaveLength(2)
    expect(plan.remove).toHaveLength(2)
    expect(await store.workspace.use()).toMatchObject({ instances: 2, vcpus: 8, memoryGb: 24 })
  })

  it('R2.3 R5.0 is refused past the limit, and for a standard app, with the way out', async () => {
    await create('hello', 2)
    await create('plain')
    await expect(admitted('hello', { type: 'resize', instances: 6 })).rejects.toThrow(/instances is 6 .* 5 at most/)
    await expect(admitted('plain', { type: 'resize', instances: 2 })).rejects.toThrow(/convert with 1 first/)
    await store.workspace.change({ maxInstancesPerApp: 6 })
    await expect(admitted('hello', { type: 'resize', instances: 6 })).resolves.toBeDefined()
  })
})

describe('a dry run', () => {
  it('R6.1 plans, meets every refusal, and changes nothing', async () => {
    await create('hello', 2)
    await finished('hello', { type: 'deploy' })
    const before = await app('hello')
    expect(await store.admissions.dryRun('hello', { type: 'resize', instances: 4 })).toMatchObject({
      add: [{ slot: 2 }, { slot: 3 }],
      target: { instances: 4 },
    })
    await expect(store.admissions.dryRun('hello', { type: 'resize', instances: 6 })).rejects.toMatchObject({
      code: 'LimitExceeded',
    })
    expect(await app('hello')).toEqual(before)
    await admitted('hello', { type: 'resize', instances: 3 })
    await expect(store.admissions.dryRun('hello', { type: 'resize', instances: 4 })).rejects.toMatchObject({
      code: 'OperationInProgress',
    })
  })
})

describe('a rollback', () => {
  it('R4.1 runs the deployment before, from its artifact', async () => {
    await create('hello', 1)
    const plans = [await finished('hello', { type: 'deploy' })]
    store.clock.now += 1000
    await expect(admitted('hello', { type: 'rollback' })).rejects.toThrow(/no earlier deployment/)
    await keepArtifacts()
    plans.push(await finished('hello', { type: 'deploy' }))
    await keepArtifacts()
    const back = await finished('hello', { type: 'rollback' })
    expect(back).toMatchObject({ build: false, deployment: plans[0]?.deployment })
    expect((await app('hello')).activeDeployment).toBe(plans[0]?.deployment)
    await expect(admitted('hello', { type: 'rollback', deployment: 'nonsense' })).rejects.toThrow(
      /no deployment of hello/,
    )
  })

  /** As the build step does. */
  async function keepArtifacts(): Promise<void> {
    for (const { id } of await store.deployments.list('hello')) {
      store.raw.prepare('update deployments set artifact = ? where id = ?').run(`artifact-${id}`, id)
    }
  }
})

describe('a duplicate', () => {
  it('R5.5 has the configuration, the deployment and its artifact under a new name, stopped; secrets only by choice', async () => {
    await create('hello', 2)
    await store.secrets.set('hello', 'token', 's3cret')
    const { deployment } = await finished('hello', { type: 'deploy' })
    store.raw.prepare('update deployments set artifact = ?').run('artifact-1')
    await store.pins.pin('artifact-1', deployment as string)

    const copy = await store.duplicate({ from: 'hello', name: 'trial', withSecrets: false, creator: 'ada' })
    expect(copy).toMatchObject({
      mode: 'scaled',
      instances: 2,
      desired: 'stopped',
      computeState: 'STOPPED',
      place: true,
    })
    expect(copy.port).not.toBe((await app('hello')).port)
    expect(await store.secrets.list('trial')).toEqual([])
    const start = await admitted('trial', { type: 'start' })
    expect(start).toMatchObject({ build: false, add: [{ slot: 0 }, { slot: 1 }], deployment: copy.activeDeployment })
    expect(await store.deployments.get(copy.activeDeployment as string)).toMatchObject({
      app: 'trial',
      artifact: 'artifact-1',
    })

    await store.duplicate({ from: 'hello', name: 'trusted', withSecrets: true, creator: 'ada' })
    expect([...(await store.secrets.values('trusted'))]).toEqual([['token', 's3cret']])
    await expect(
      store.duplicate({ from: 'hello', name: 'trial', withSecrets: false, creator: 'ada' }),
    ).rejects.toMatchObject({ code: 'AlreadyExists' })
  })

  it('R5.5 that fits no limit leaves nothing', async () => {
    await store.workspace.change({ maxScaledApps: 1 })
    await create('hello', 2)
    await expect(
      store.duplicate({ from: 'hello', name: 'trial', withSecrets: true, creator: 'ada' }),
    ).rejects.toMatchObject({ code: 'LimitExceeded' })
    expect(await store.apps.get('trial')).toBeNull()
  })
})

describe('a rebalance', () => {
  it('R8.3 sheds by slot what is above the share, under a new epoch each time, and goes out with a new table', async () => {
    await create('hello', 2)
    const { add } = await finished('hello', { type: 'deploy' })
    await store.routers.signControlPlane({ starting: true })
    await store.routers.report({
      holding: null,
      router: 'a',
      incarnation: '1',
      inventory: store.inventory,
      version: await store.routes.version(),
      inFlight: {},
      longLived: {},
      sessions: { [add[0]?.id as string]: 30, [add[1]?.id as string]: 10 },
      sessionRanks: { [add[0]?.id as string]: Array.from({ length: SHED_RANKS }, (_, rank) => (rank < 24 ? 1 : 0)) },
      rebalanced: { 'hello/1': 7 },
      processes: 1,
      address: '',
      down: [],
      takenPorts: [],
      silent: [],
      protocol: 1,
      refused: null,
      leaving: false,
    })
    const before = await store.routes.version()
    expect(await store.sessions.predict('hello', 1)).toEqual({ sessions: 40, moved: 10 })
    const { epoch, atMost, version } = await store.sessions.rebalance('hello')
    expect({ epoch, atMost }).toEqual({ epoch: 1, atMost: 10 })
    expect(version).toBe(before + 1)
    const [route] = (await store.routes.table({ domains: [] })).apps
    expect(route?.rebalance).toEqual({ epoch: 1, slots: [0, 1], shed: { 0: 10 / SHED_RANKS } })
    expect(await store.sessions.moved('hello', 1)).toBe(7)
    expect((await store.events.after(0, { app: 'hello' })).filter(({ kind }) => kind === 'rebalance')).toMatchObject([
      { message: 'Sessions of hello are rebalanced: at most 10 move', data: { epoch: 1, atMost: 10 } },
    ])
    expect((await store.sessions.rebalance('hello')).epoch).toBe(2)
  })
})

describe('the preview', () => {
  it('R2.1 is off until an admin turns it on', async () => {
    const fresh = await openTestStore({ workspace: {} })
    try {
      const scaled = () => fresh.apps.create({ name: 'hello', mode: 'scaled', instances: 2, creator: 'ada' })
      await expect(scaled()).rejects.toMatchObject({ code: 'PreviewDisabled' })
      await fresh.workspace.change({ horizontalScaling: true })
      await expect(scaled()).resolves.toMatchObject({ mode: 'scaled' })
    } finally {
      await fresh.dispose()
    }
  })

  it('R2.2 turned off keeps scaled apps as they are, lets them be changed and converted back, and lets no new one be made', async () => {
    await create('hello', 2)
    await create('plain')
    await finished('hello', { type: 'deploy' })
    await store.workspace.change({ horizontalScaling: false })
    await expect(create('another', 2)).rejects.toMatchObject({ code: 'PreviewDisabled' })
    await expect(admitted('plain', { type: 'convert', mode: 'scaled' })).rejects.toMatchObject({
      code: 'PreviewDisabled',
    })
    await finished('hello', { type: 'deploy' })
    await finished('hello', { type: 'convert', mode: 'standard' })
    expect((await app('hello')).mode).toBe('standard')
  })
})

describe('the limit of scaled apps', () => {
  it('R2.3 refuses the sixth with the limit and the use, and lets it in once it is raised', async () => {
    for (let i = 1; i <= 5; i++) await create(`app-${i}`, 2)
    await expect(create('app-6', 2)).rejects.toThrow(/number 6; this workspace may have 5, and 5 are in use/)
    expect(await store.apps.get('app-6')).toBeNull()
    await store.workspace.change({ maxScaledApps: 6 })
    await create('app-6', 2)
  })

  it('R2.3 lets exactly one of two racing for the last place have it, 50 times', async () => {
    await store.workspace.change({ maxScaledApps: 1 })
    const rival = await startRival(store.home)
    try {
      for (let i = 0; i < 50; i++) {
        const theirs = rival.create(`there-${i}`, 'scaled')
        const ours = create(`here-${i}`, 1).then(
          () => 'won',
          (error: { code: string }) => error.code,
        )
        const results = [await ours, await theirs]
        expect(results.toSorted()).toEqual(['LimitExceeded', 'won'])
        await finished(results[0] === 'won' ? `here-${i}` : `there-${i}`, { type: 'delete' })
      }
    } finally {
      await rival.stop()
    }
  })
})
