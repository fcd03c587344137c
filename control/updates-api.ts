/**
 * The product's asynchronous update:
 *
 *   POST /{name}/update[?dry_run=true]   {app, update_mask} → AppUpdate; with dry_run what it would do, and does not
 *   GET  /{name}/update                  the last one: NOT_UPDATED, IN_PROGRESS, SUCCEEDED, FAILED
 */
import { Router } from 'express'
import { z } from 'zod'
import type { App, AppSettings, Operation } from '../domain/records.ts'
import type { Prediction } from '../domain/sessions.ts'
import type { RequestedChange } from '../store/admissions.ts'
import type { Store } from '../store/store.ts'
import type { AppReader } from './app-reader.ts'
import { type AppUpdate, readUpdate } from './app-update.ts'
import { principalOf } from './auth.ts'
import { flagSchema, ONE_INSTANCE, read, readBody, type UpdateBody, updateSchema } from './bodies.ts'
import type { OperationStarter } from './operations.ts'
import { failureView, healthView } from './views.ts'

export type UpdatesApiDeps = { store: Store; apps: AppReader; operations: OperationStarter }

type UpdateState = 'NOT_UPDATED' | 'IN_PROGRESS' | 'SUCCEEDED' | 'FAILED'

export function updatesApi({ store, apps, operations }: UpdatesApiDeps): Router {
  const router = Router()

  router.post('/:name/update', async (request, response) => {
    const { dry_run } = read(z.strictObject({ dry_run: flagSchema.optional() }), request.query)
    const app = await apps.record(request.params.name)
    const body = readBody(updateSchema, request.body)
    // What an app is while it is being changed is no ground to judge by; who changes it is the answer then.
    if (app.operation !== null && !onlyDescribes(body)) await store.admissions.assertFree(app.name)
    const update = readUpdate(app, body)
    if (dry_run) return void response.json(await foretell(app, update))
    const { change, settings } = update
    // All of it or nothing: with an operation the settings change at its pivot.
    if (change === null) await store.appSettings.set(app.name, settings, { update: true })
    else
      await operations.start({
        app: app.name,
        change,
        settings,
        startedBy: principalOf(response).name,
        update: true,
      })
    response.json(await updateView(app.name))
  })

  router.get('/:name/update', async (request, response) => {
    response.json(await updateView((await apps.record(request.params.name)).name))
  })

  /** What clients poll; shows what was asked for until it has come to be. */
  async function updateView(name: string) {
    const app = await apps.record(name)
    const last = await store.apps.lastUpdate(name)
    const operation = last?.operation == null ? null : await store.operations.get(last.operation)
    const status = statusOf(last !== null, operation)
    const target =
      status.state === 'SUCCEEDED' ? app : withUpdate(app, operation?.change ?? null, operation?.settings ?? {})
    return { ...targetView(target), status, ...(operation !== null && { operation: operation.id }) }
  }

  /** How many sessions it would move, and whatever it would be refused for (R6.1). */
  async function foretell(app: App, { change, settings }: AppUpdate) {
    if (change === null)
      return {
        ...targetView(withUpdate(app, null, settings)),
        status: { state: 'NOT_UPDATED', message: 'No operation would run.' },
        dry_run: { sessions: { total: total(await store.sessions.counts(app.name)), moved: 0 } },
      }
    const plan = await store.admissions.dryRun(app.name, change, settings)
    const sessions = await store.sessions.predict(app.name, plan.target.instances)
    return {
      ...targetView(withUpdate(app, change, settings)),
      status: { state: 'NOT_UPDATED', message: 'This was a dry run; nothing was changed.' },
      dry_run: {
        operation: change.type,
        instances: { add: plan.add.length, keep: plan.keep.length, remove: plan.remove.length },
        sessions: { total: sessions.sessions, moved: movedBy(app, sessions) },
      },
    }
  }

  return router
}

const onlyDescribes = ({ update_mask }: UpdateBody): boolean => update_mask === 'description'

/** A standard app has one slot and no affinity: nothing of it can move. */
const movedBy = (app: App, { moved }: Prediction): number => (app.mode === 'standard' ? 0 : moved)

const total = (counts: Record<number, number>): number => Object.values(counts).reduce((sum, n) => sum + n, 0)

function statusOf(updated: boolean, operation: Operation | null): { state: UpdateState; message: string } {
  if (!updated) return { state: 'NOT_UPDATED', message: 'The app has not been updated.' }
  if (operation === null) return { state: 'SUCCEEDED', message: 'The app was updated.' }
  const words = `The ${operation.type} of ${operation.app}`
  switch (operation.state) {
    case 'REQUESTED':
    case 'RUNNING':
      return { state: 'IN_PROGRESS', message: `${words} runs as ${operation.id}.` }
    case 'SUCCEEDED':
      return { state: 'SUCCEEDED', message: `${words} succeeded.${recommendation(operation)}` }
    case 'CANCELLED':
      return { state: 'FAILED', message: `${words} was cancelled; everything is as before.` }
    case 'FAILED': {
      const failure = operation.failure === null ? null : failureView(operation.failure)
      const where = failure?.step === undefined ? '' : ` at the step "${failure.step}"`
      const log =
        failure?.log_lines === undefined ? '' : ` Its last log lines: ${failure.log_lines.slice(-5).join(' | ')}`
      return {
        state: 'FAILED',
        message: `${words} failed${where}: ${failure?.message ?? 'the cause is not known'}${log}`,
      }
    }
  }
}

/** R3.1 */
function recommendation({ change }: Operation): string {
  const one =
    change?.type === 'convert' ? change.mode === 'scaled' : change?.type === 'resize' && change.instances === 1
  return one ? ` ${ONE_INSTANCE}` : ''
}

function withUpdate(before: App, change: RequestedChange | null, { health, ...settings }: AppSettings): App {
  const app = { ...before, ...settings, health: { ...before.health, ...health } }
  if (change?.type === 'convert') return { ...app, mode: change.mode, instances: 1 }
  if (change?.type === 'resize')
    return { ...app, instances: change.instances ?? app.instances, computeSize: change.computeSize ?? app.computeSize }
  return app
}

const targetView = (app: App) => ({
  description: app.description,
  health_check: healthView(app.health),
  compute_size: app.computeSize,
  ...(app.mode === 'scaled' && { compute_min_instances: app.instances, compute_max_instances: app.instances }),
})
