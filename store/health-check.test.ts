import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DEFAULT_HEALTH, type HealthCheck } from '../domain/health-check.ts'
import type { Plan } from '../domain/plan.ts'
import type { RequestedChange } from './admissions.ts'
import { MIGRATIONS, migrate } from './migrations.ts'
import { openTestStore, type TestStore } from './testing.ts'

let store: TestStore
let operations = 0
beforeEach(async () => {
  store = await openTestStore()
  await store.apps.create({ name: 'hello', mode: 'scaled', instances: 1, creator: 'ada' })
})
afterEach(() => store.dispose())

const SET: HealthCheck = { path: '/health', timeoutMs: 90_000, silenceMs: 30_000 }

function admit(change: RequestedChange, health?: Partial<HealthCheck>): Promise<Plan> {
  const source = { sourceCodePath: 'x', source: null, command: null, env: [], creator: 'ada' }
  return store.admissions.admit({
    id: `op-${String(++operations).padStart(8, '0')}`,
    app: 'hello',
    type: change.type,
    workflowId: 'app/hello',
    runId: 'run',
    byHand: { startedBy: 'ada', change, ...(health !== undefined && { deployment: { ...source, health } }) },
  })
}

async function commit(plan: Plan): Promise<void> {
  if (plan.deployment !== null)
    store.raw.prepare('update deployments set artifact = ? where id = ?').run('a1', plan.deployment)
  for (const [i, { id }] of plan.add.entries())
    await store.instances.observe(id, { observed: 'running', address: `127.0.0.1:${20_000 + i}` })
  await store.transitions.commit(plan)
  await store.transitions.finish(plan)
  store.clock.now += 1
}

async function deploy(health: Partial<HealthCheck>): Promise<string> {
  const plan = await admit({ type: 'deploy' }, health)
  await commit(plan)
  return plan.deployment as string
}

const set = (health: Partial<HealthCheck>) => store.appSettings.set('hello', { health })
const ofApp = async () => (await store.apps.get('hello'))?.health
const ofDeployment = async (id: string) => (await store.deployments.get(id))?.health
const route = async () => {
  const { apps } = await store.routes.table({ domains: ['localhost'] })
  return { path: apps[0]?.healthPath, silenceMs: apps[0]?.silenceMs }
}

describe('R12.2 the health check of an app', () => {
  it('is what a deployment named, from its pivot on and not before; the next one that names nothing is checked by it', async () => {
    const plan = await admit({ type: 'deploy' }, SET)
    expect([await ofApp(), await ofDeployment(plan.deployment as string)]).toEqual([DEFAULT_HEALTH, SET])
    expect(await route()).toEqual({ path: null, silenceMs: 15_000 })
    await commit(plan)
    expect(await ofApp()).toEqual(SET)
    expect(await route()).toEqual({ path: '/health', silenceMs: 30_000 })
    expect(await ofDeployment(await deploy({}))).toEqual(SET)
    expect(await ofDeployment(await deploy({ silenceMs: 60_000 }))).toEqual({ ...SET, silenceMs: 60_000 })
    expect(await ofDeployment(await deploy({ path: null }))).toEqual({
      path: null,
      timeoutMs: 90_000,
      silenceMs: 60_000,
    })
    expect(await ofApp()).toEqual({ path: null, timeoutMs: 90_000, silenceMs: 60_000 })
  })

  it('is not changed by a deployment that fails', async () => {
    await deploy(SET)
    const before = await route()
    const plan = await admit({ type: 'deploy' }, { path: '/other', timeoutMs: 1, silenceMs: 1_000 })
    await store.transitions.abandon(plan.operation, {
      state: 'FAILED',
      failure: { code: 'HealthCheckFailed', message: 'no' },
    })
    expect([await ofApp(), await route()]).toEqual([SET, before])
    expect(await ofDeployment(await deploy({}))).toEqual(SET)
  })

  it('is that of the deployment to which a rollback goes back', async () => {
    await deploy(SET)
    const other = { path: '/other', timeoutMs: 5_000, silenceMs: 1_000 }
    await deploy(other)
    const plan = await admit({ type: 'rollback' })
    expect(await ofApp()).toEqual(other)
    await commit(plan)
    expect([await ofApp(), await route()]).toEqual([SET, { path: '/health', silenceMs: 30_000 }])
  })

  it('changes without a deployment at once: of the app, of what runs, in a new table; and what is the same changes nothing', async () => {
    const active = await deploy({})
    const before = await store.routes.version()
    await set({ path: '/health', silenceMs: 3_600_000 })
    const now = { path: '/health', timeoutMs: 60_000, silenceMs: 3_600_000 }
    expect([await ofApp(), await ofDeployment(active)]).toEqual([now, now])
    expect([await store.routes.version(), await route()]).toEqual([
      before + 1,
      { path: '/health', silenceMs: 3_600_000 },
    ])
    await set(now)
    expect(await store.routes.version()).toBe(before + 1)
    await expect(store.appSettings.set('nobody', {})).rejects.toMatchObject({ code: 'NotFound' })
  })

  it('changes before the first deployment too, and not while one brings its own; a resize brings none', async () => {
    await set(SET)
    const plan = await admit({ type: 'deploy' }, {})
    await expect(set({ path: null })).rejects.toMatchObject({
      code: 'OperationInProgress',
      message: expect.stringContaining(`deploy (${plan.operation}) by ada runs`),
    })
    // What it is, and is to be, may be said again.
    await set(SET)
    await commit(plan)
    expect(await ofApp()).toEqual(SET)
    const other = await admit({ type: 'deploy' }, { path: '/other' })
    await expect(set(SET)).rejects.toMatchObject({ code: 'OperationInProgress' })
    await store.transitions.abandon(other.operation, {
      state: 'FAILED',
      failure: { code: 'HealthCheckFailed', message: 'no' },
    })
    const resize = await admit({ type: 'resize', instances: 2 })
    await set({ path: '/during' })
    await commit(resize)
    expect(await ofApp()).toEqual({ ...SET, path: '/during' })
  })

  it('goes along with a duplicate', async () => {
    await deploy(SET)
    const copy = await store.duplicate({ from: 'hello', name: 'copy', withSecrets: false, creator: 'ada' })
    expect(copy.health).toEqual(SET)
    expect(await ofDeployment(copy.activeDeployment as string)).toEqual(SET)
  })
})

it('R14.2 an upgrade gives each app the health check of the deployment that runs', () => {
  const raw = new DatabaseSync(':memory:')
  const before = MIGRATIONS.findIndex((text) => text.includes('apps add column health_path'))
  migrate(raw, { migrations: MIGRATIONS.slice(0, before) })
  const columns = (table: string) =>
    (raw.prepare(`pragma table_info(${table})`).all() as Array<{ name: string; type: string }>).map(
      ({ name, type }) => [name, type === 'INTEGER' ? 1 : 'x'],
    )
  const insert = (table: string, values: Record<string, string | number | null>) => {
    const row: typeof values = { ...Object.fromEntries(columns(table)), ...values }
    const names = Object.keys(row)
    raw.prepare(`insert into ${table} (${names}) values (${names.map(() => '?')})`).run(...Object.values(row))
  }
  insert('deployments', { id: 'd1', app: 'one', health_path: '/health', health_timeout_ms: 5_000 })
  insert('deployments', { id: 'd2', app: 'one', health_path: '/other', health_timeout_ms: 7_000 })
  const app = { mode: 'standard', desired: 'running' }
  insert('apps', { ...app, name: 'one', id: '1', port: 1, active_deployment: 'd1' })
  insert('apps', { ...app, name: 'two', id: '2', port: 2, active_deployment: null })
  migrate(raw)
  expect(raw.prepare('select health_path, health_timeout_ms, silence_ms from apps order by name').all()).toEqual([
    { health_path: '/health', health_timeout_ms: 5_000, silence_ms: 15_000 },
    { health_path: null, health_timeout_ms: 60_000, silence_ms: 15_000 },
  ])
  raw.close()
})
