/**
 * What routers talk to (DESIGN D7): the stream of route tables and their reports.
 *
 *   GET    /routes/stream?router=<name>   server-sent events; `table` with the whole table, at once and after every
 *                                         change of its version; behind each, when the other routers hold it too,
 *                                         `apply` with its {inventory, version}: it is to be put into force
 *   POST   /routers/report                RouterReport → ReportAnswer
 *   GET    /routers                       who is known
 *   DELETE /routers/<name>                an operator knows that it will not come back; or it stops, and has no table
 *
 * And what load tests need to have from routers:
 *
 *   GET    /apps/<name>/naming-key        with this in a request, routers say which instance answers
 */
import { Router } from 'express'
import { z } from 'zod'
import { cutOvers } from '../domain/cut-over.ts'
import { CoppiceError } from '../domain/errors.ts'
import { type RouteTable, routerReportSchema } from '../domain/route-table.ts'
import { NAMING_KEY_HEADER } from '../domain/served-by.ts'
import type { Store } from '../store/store.ts'
import { requireAdmin } from './auth.ts'
import { Barrier } from './barrier.ts'
import { read, readBody } from './bodies.ts'
import { type Changes, SharedLooks } from './changes.ts'
import { type EventStream, type EventStreams, eventText } from './event-stream.ts'

export type RoutersApiDeps = {
  store: Pick<Store, 'routes' | 'routers'>
  domains: string[]
  changes: Changes
  streams: EventStreams
}

const nameSchema = z.string().min(1).max(128)

export function routersApi({ store, domains, changes, streams }: RoutersApiDeps): Router {
  const router = Router()
  // A false acknowledgement would cost other people's requests; a naming key opens what stands in the route table.
  router.use(['/routes', '/routers', '/apps/:name/naming-key'], requireAdmin)

  const version = new SharedLooks(changes, () => store.routes.version())
  const table = new SharedLooks(changes, async () => {
    const current = await store.routes.table({ domains })
    const id = { inventory: current.inventory, version: current.version }
    const event = { id: `${id.inventory}/${id.version}`, event: 'table', data: current }
    return {
      table: current,
      bytes: Buffer.from(eventText(event)),
      word: Buffer.from(eventText({ event: 'apply', data: id })),
    }
  })
  const barrier = new Barrier()
  router.get('/routes/stream', async (request, response) => {
    const { router: name } = read(z.strictObject({ router: nameSchema }), request.query)
    const tell = async (stream: EventStream) => {
      const leave = barrier.follow(name)
      try {
        for (let sent: RouteTable | null = null; ; ) {
          const { count } = changes
          if ((await version.now('')) !== sent?.version) {
            const current = await table.now('')
            await stream.send(current.bytes)
            if (sent !== null && cutOvers(sent, current.table).length > 0)
              await barrier.reachedByOthers(name, current.table, stream.closed)
            await stream.send(current.word)
            sent = current.table
          }
          await changes.past(count, stream.closed)
        }
      } finally {
        leave()
      }
    }
    await streams.serve(request, response, tell, name)
  })

  router.post('/routers/report', async (request, response) => {
    const report = readBody(routerReportSchema, request.body)
    barrier.has(report.router, report.holding ?? report)
    response.json(await store.routers.report(report))
  })

  router.get('/routers', async (_request, response) => {
    const current = await store.routes.version()
    response.json({
      version: current,
      routers: (await store.routers.list()).map((known) => ({
        name: known.id,
        address: known.address,
        counted: known.counted,
        away: known.away,
        refused: known.refused,
        version: known.version,
        behind: known.version < current,
        processes: known.processes,
        seen_time: new Date(known.seenAt).toISOString(),
        in_flight: known.inFlight,
        long_lived: known.longLived,
        down: known.down,
        silent: Object.keys(known.silent),
      })),
    })
  })

  router.get('/apps/:name/naming-key', async (request, response) => {
    const naming_key = await store.routes.namingKey(request.params.name)
    response.set('Cache-Control', 'no-store').json({ header: NAMING_KEY_HEADER, naming_key })
  })

  router.delete('/routers/:name', async (request, response) => {
    const name = read(nameSchema, request.params.name)
    if (!(await store.routers.remove(name))) throw new CoppiceError('NotFound', `There is no router ${name}`)
    response.json({})
  })

  return router
}
