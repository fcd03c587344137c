import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DEFAULT_HEALTH } from '../domain/health-check.ts'
import type { Plan } from '../domain/plan.ts'
import type { AppSettings } from '../domain/records.ts'
import type { RequestedChange } from './admissions.ts'
import { openTestStore, type TestStore } from './testing.ts'

let store: TestStore
beforeEach(async () => {
  store = await openTestStore()
  await store.apps.create({ name: 'hello', mode: 'scaled', instances: 1, preinstalled: true, creator: 'ada' })
})
afterEach(() => store.dispose())

const ALL: AppSettings = { description: 'new', health: { path: '/ready' }, preinstalled: false }
const BEFORE = { description: '', health: DEFAULT_HEALTH, preinstalled: true }
const AFTER = { description: 'new', health: { ...DEFAULT_HEALTH, path: '/ready' }, preinstalled: false }

const request = (settings: AppSettings, change: RequestedChange = { type: 'resize', instances: 2 }) =>
  store.admissions.request({ id: 'op-update', app: 'hello', startedBy: 'ada', change, settings, update: true })
const admit = (): Promise<Plan> =>
  store.admissions.admit({
    id: 'op-update',
    app: 'hello',
    type: 'resize',
    byHand: null,
    workflowId: 'app/hello',
    runId: 'run',
  })
const set = (settings: AppSettings) => store.appSettings.set('hello', settings)
const app = () => store.apps.get('hello')

describe('R5.0 the settings of an update', () => {
  it('that takes an operation are written down with it, and come to be at its pivot, all of them', async () => {
    await request(ALL)
    const plan = await admit()
    expect(await app()).toMatchObject(BEFORE)
    const version = await store.routes.version()
    await store.transitions.commit(plan)
    expect(await app()).toMatchObject(AFTER)
    expect((await store.routes.table({ domains: [] })).apps[0]?.healthPath).toBe('/ready')
    expect(await store.routes.version()).toBeGreaterThan(version)
  })

  it('come to be with none of them when it is refused, fails, or cannot be started', async () => {
    await expect(request(ALL, { type: 'resize', instances: 100 })).rejects.toMatchObject({ code: 'LimitExceeded' })
    expect(await app()).toMatchObject(BEFORE)
    await request(ALL)
    await store.operations.refuse('op-update', { code: 'Unavailable', message: 'Temporal is down' })
    expect(await app()).toMatchObject(BEFORE)
  })

  it('come to be with none of them when it is taken back', async () => {
    await request(ALL)
    await admit()
    const failure = { code: 'HealthCheckFailed', message: 'no' } as const
    await store.transitions.abandon('op-update', { state: 'FAILED', failure })
    expect(await app()).toMatchObject(BEFORE)
  })

  it('R5.4 without the libraries are refused beside a conversion to a standard app, which always has them', async () => {
    const refused = { code: 'InvalidState', message: expect.stringMatching(/hello becomes a standard app/) }
    const change = { type: 'convert', mode: 'standard' } as const
    await expect(request({ preinstalled: false }, change)).rejects.toMatchObject(refused)
    await expect(store.admissions.dryRun('hello', change, { preinstalled: false })).rejects.toMatchObject(refused)
    expect(await store.operations.list()).toEqual([])
    expect(await app()).toMatchObject({ ...BEFORE, operation: null })
  })

  it('are not overtaken by an older word: a later description stays, and a later health check waits', async () => {
    await request(ALL)
    const plan = await admit()
    await set({ description: 'newer' })
    await expect(set({ health: { path: '/other' } })).rejects.toMatchObject({
      code: 'OperationInProgress',
      message: expect.stringMatching(/health check of app hello: resize \(op-update\) by ada runs/),
    })
    // Also what it is now, which would not stay, and what it is to be, which would come too early.
    for (const health of [DEFAULT_HEALTH, ALL.health as object])
      await expect(set({ health })).rejects.toMatchObject({ code: 'OperationInProgress' })
    // All of them or none.
    await expect(set({ description: 'lost', health: { path: '/other' } })).rejects.toThrow()
    expect(await app()).toMatchObject({ description: 'newer' })
    await store.transitions.commit(plan)
    expect(await app()).toMatchObject({ ...AFTER, description: 'newer' })
  })
})
