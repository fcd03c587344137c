/**
 * What builds have left (R4.3): artifacts, the layers that they stand on, sources.
 *
 *   GET  /artifacts            all of them, the last used first
 *   POST /artifacts/prune      {older_than?}; removes what nothing needs and nobody has used for so long     admins
 *   POST /artifacts/scrub      reads every byte; what is damaged is taken out, and built again when needed   admins
 */
import { Router } from 'express'
import { z } from 'zod'
import { durationSchema } from '../domain/durations.ts'
import type { Collected, KeptThing, Scrubbed } from '../domain/kept-things.ts'
import type { Store } from '../store/store.ts'
import { requireAdmin } from './auth.ts'
import { emptySchema, readBody } from './bodies.ts'

/** The stores of the runtime, as far as people look at them. */
export type KeptThings = {
  list(): Promise<KeptThing[]>
  /** Pins protect: what an instance, an operation or a kept deployment needs stays. */
  prune(options: { maxAgeMs: number }): Promise<Collected>
  scrub(): Promise<Scrubbed>
}

export type ArtifactsApiDeps = { store: Pick<Store, 'pins'>; kept: KeptThings }

/** By default an hour, so that a source that has just been uploaded is still there when it is deployed. */
const pruneSchema = z.strictObject({ older_than: durationSchema.default(3_600_000) })

export function artifactsApi({ store, kept }: ArtifactsApiDeps): Router {
  const router = Router()

  router.get('/artifacts', async (_request, response) => {
    const things = (await kept.list()).sort((a, b) => b.usedAt - a.usedAt)
    response.json({
      artifacts: await Promise.all(
        things.map(async ({ key, kind, bytes, usedAt, unread }) => ({
          key,
          kind,
          bytes,
          use_time: new Date(usedAt).toISOString(),
          pinned: await store.pins.isPinned(key),
          unread,
        })),
      ),
    })
  })

  router.post('/artifacts/prune', requireAdmin, async (request, response) => {
    const { older_than } = readBody(pruneSchema, request.body)
    response.json(await kept.prune({ maxAgeMs: older_than }))
  })

  router.post('/artifacts/scrub', requireAdmin, async (request, response) => {
    readBody(emptySchema, request.body)
    response.json(await kept.scrub())
  })

  return router
}
