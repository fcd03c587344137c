/**
 * Changes of an app that the product has no paths for:
 *
 *   POST /apps/{name}/restart
 *   POST /apps/{name}/rollback    {deployment?}                     to the one before, or the one that is named
 *   POST /apps/{name}/duplicate   {name, with_secrets?, start?}     a copy under a new name
 *   GET  /apps/{name}/sessions                                      by slot, as the routers count them
 *   POST /apps/{name}/rebalance                                     slots shed what they have above their share
 *   GET  /apps/{name}/rebalance                                     how many sessions have moved
 */
import { Router } from 'express'
import { z } from 'zod'
import { CoppiceError } from '../domain/errors.ts'
import { appNameSchema } from '../domain/names.ts'
import type { RequestedChange } from '../store/admissions.ts'
import type { Store } from '../store/store.ts'
import type { AppReader } from './app-reader.ts'
import { principalOf } from './auth.ts'
import { emptySchema, readBody } from './bodies.ts'
import type { OperationStarter } from './operations.ts'

export type ChangesApiDeps = { store: Store; apps: AppReader; operations: OperationStarter }

const rollbackSchema = z.strictObject({ deployment: z.string().min(1).max(64).optional() })
const duplicateSchema = z.strictObject({
  name: appNameSchema,
  with_secrets: z.boolean().default(false),
  start: z.boolean().default(false),
})

export function changesApi({ store, apps, operations }: ChangesApiDeps): Router {
  const router = Router()

  const operate = async (app: string, change: RequestedChange, startedBy: string) => {
    const { id } = await operations.start({ app, change, startedBy })
    return { ...(await apps.view(app)), operation: id }
  }

  router.post('/apps/:name/restart', async (request, response) => {
    readBody(emptySchema, request.body)
    response.json(await operate(request.params.name, { type: 'restart' }, principalOf(response).name))
  })

  router.post('/apps/:name/rollback', async (request, response) => {
    const { deployment } = readBody(rollbackSchema, request.body)
    response.json(await operate(request.params.name, { type: 'rollback', deployment }, principalOf(response).name))
  })

  router.post('/apps/:name/duplicate', async (request, response) => {
    const { name, with_secrets, start } = readBody(duplicateSchema, request.body)
    const creator = principalOf(response).name
    const copy = await store.duplicate({ from: request.params.name, name, withSecrets: with_secrets, creator })
    response.json(start ? await operate(copy.name, { type: 'start' }, creator) : await apps.viewOf(copy))
  })

  router.get('/apps/:name/sessions', async (request, response) => {
    const { name } = await apps.record(request.params.name)
    const counts = await store.sessions.counts(name)
    const serving = (await store.instances.ofApp(name)).filter(({ role }) => role === 'serving')
    const slots = serving.map(({ slot, id }) => ({ slot, instance: id, sessions: counts[slot] ?? 0 }))
    response.json({ sessions: slots.reduce((sum, { sessions }) => sum + sessions, 0), slots })
  })

  router.post('/apps/:name/rebalance', async (request, response) => {
    readBody(emptySchema, request.body)
    const { epoch, atMost } = await store.sessions.rebalance(request.params.name)
    response.json({ epoch, at_most: atMost, moved: 0 })
  })

  router.get('/apps/:name/rebalance', async (request, response) => {
    const { name } = await apps.record(request.params.name)
    const last = await store.sessions.lastRebalance(name)
    if (last === null) throw new CoppiceError('NotFound', `The sessions of ${name} were never rebalanced`)
    response.json({ epoch: last.epoch, at_most: last.atMost, moved: last.moved })
  })

  return router
}
