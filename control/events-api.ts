/**
 * What happens, as it happens (R9.3):
 *
 *   GET /events?app=&operation=&after=   server-sent events from the inventory; `id` is the sequence number, `event`
 *                                        the kind, `data` the HistoryEvent. Begins after `after` or Last-Event-ID,
 *                                        else now. The inventory writes them, so nothing is missed while the control
 *                                        plane is away.
 */
import { Router } from 'express'
import { z } from 'zod'
import type { Store } from '../store/store.ts'
import { read } from './bodies.ts'
import { onEveryChange, openEventStream } from './event-stream.ts'

export type EventsApiDeps = { store: Pick<Store, 'events' | 'watch'>; stopping: AbortSignal }

const seq = z.coerce.number('must be the number of an event').int().min(0)
const querySchema = z.strictObject({
  app: z.string().max(64).optional(),
  operation: z.string().max(128).optional(),
  after: seq.optional(),
})

const BATCH = 500

export function eventsApi({ store, stopping }: EventsApiDeps): Router {
  const router = Router()
  router.get('/events', async (request, response) => {
    const { app, operation, after } = read(querySchema, request.query)
    const resumed = request.get('last-event-id')
    let last = resumed === undefined ? (after ?? (await store.events.lastSeq())) : read(seq, resumed)
    const stream = openEventStream(request, response, { stopping })
    await onEveryChange(store.watch, stream.closed, async () => {
      for (let more = true; more && !stream.closed.aborted; ) {
        const events = await store.events.after(last, { app, operation, limit: BATCH })
        for (const event of events) stream.send({ id: String(event.seq), event: event.kind, data: event })
        last = events.at(-1)?.seq ?? last
        more = events.length === BATCH
      }
    })
  })
  return router
}
