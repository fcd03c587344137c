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
import { read } from './bodies.ts'
import type { EventFeed } from './event-feed.ts'
import type { EventStreams } from './event-stream.ts'

export type EventsApiDeps = { feed: EventFeed; streams: EventStreams }

const seq = z.coerce.number('must be the number of an event').int().min(0)
const querySchema = z.strictObject({
  app: z.string().max(64).optional(),
  operation: z.string().max(128).optional(),
  after: seq.optional(),
})

export function eventsApi({ feed, streams }: EventsApiDeps): Router {
  const router = Router()
  router.get('/events', async (request, response) => {
    const { after, ...filter } = read(querySchema, request.query)
    const resumed = request.get('last-event-id')
    let last = resumed === undefined ? (after ?? (await feed.head())) : read(seq, resumed)
    await streams.serve(request, response, async (stream) => {
      for (;;) {
        const page = await feed.next(last, filter, stream.closed)
        await stream.send(page.bytes)
        last = page.last
      }
    })
  })
  return router
}
