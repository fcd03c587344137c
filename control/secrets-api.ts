/**
 * Secrets of an app (R3.7). They go in and never come out again:
 *
 *   GET    /apps/{name}/secrets            names, and when each was set
 *   PUT    /apps/{name}/secrets/{secret}   {value}; an instance has it from its next start on
 *   DELETE /apps/{name}/secrets/{secret}   [?force=true] refused while a deployment that runs needs it
 */
import { Router } from 'express'
import { z } from 'zod'
import { wordSchema } from '../domain/process-size.ts'
import type { Store } from '../store/store.ts'
import type { AppReader } from './app-reader.ts'
import { flagSchema, read, readBody } from './bodies.ts'

export type SecretsApiDeps = { store: Pick<Store, 'secrets'>; apps: AppReader }

const nameSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/,
    'must be 1 to 128 letters, digits, "_", "." or "-", and begin with a letter or digit',
  )
const paramsSchema = z.object({ secret: nameSchema })
const valueSchema = z.strictObject({ value: wordSchema })

export function secretsApi({ store, apps }: SecretsApiDeps): Router {
  const router = Router()

  router.get('/apps/:name/secrets', async (request, response) => {
    const { name } = await apps.record(request.params.name)
    const secrets = await store.secrets.list(name)
    response.json({
      secrets: secrets.map((secret) => ({ name: secret.name, update_time: new Date(secret.updatedAt).toISOString() })),
    })
  })

  router.put('/apps/:name/secrets/:secret', async (request, response) => {
    const { secret } = read(paramsSchema, { secret: request.params.secret })
    const { value } = readBody(valueSchema, request.body)
    const { name } = await apps.record(request.params.name)
    await store.secrets.set(name, secret, value)
    response.json({ name: secret })
  })

  router.delete('/apps/:name/secrets/:secret', async (request, response) => {
    const { name } = await apps.record(request.params.name)
    const { secret } = request.params
    const { force } = read(z.strictObject({ force: flagSchema.default(false) }), request.query)
    await store.secrets.remove(name, secret, { force })
    response.json({ name: secret })
  })

  return router
}
