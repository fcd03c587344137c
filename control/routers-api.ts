/**
 * What routers talk to (DESIGN D7): the stream of route tables and their reports.
 *
 *   GET    /routes/stream?router=<name>   server-sent events; `table` with the whole table, at once and after every
 *                                         change of its version
 *   POST   /routers/report                RouterReport → ReportAnswer
 *   GET    /routers                       who is known
 *   DELETE /routers/<name>                it stopped on purpose, or an operator knows that it will not come back
 */
import { Router } from 'express'
import { z } from 'zod'
import { CoppiceError } from '../domain/errors.ts'
import { routerReportSchema } from '../domain/route-table.ts'
import type { Store } from '../store/store.ts'
import { requireAdmin } from './auth.ts'
import { read, readBody } from './bodies.ts'
import { onEveryChange, openEventStream } from './event-stream.ts'

export type RoutersApiDeps = {
  store: Pick<Store, 'routes' | 'routers' | 'watch'>
  domains: string[]
  stopping: AbortSignal
}

const nameSchema = z.string().min(1).max(128)

export function routersApi({ store, domains, stopping }: RoutersApiDeps): Router {
  const router = Router()
  // A false acknowledgement would cost other people's requests.
  router.use(['/routes', '/routers'], requireAdmin)

  router.get('/routes/stream', async (request, response) => {
    read(z.strictObject({ router: nameSchema }), request.query)
    const stream = openEventStream(request, response, { stopping })
    let sent = -1
    await onEveryChange(store.watch, stream.closed, async () => {
      if ((await store.routes.version()) === sent) return
      const table = await store.routes.table({ domains })
      sent = table.version
      stream.send({ id: `${table.inventory}/${table.version}`, event: 'table', data: table })
    })
  })

  router.post('/routers/report', async (request, response) => {
    response.json(await store.routers.report(readBody(routerReportSchema, request.body)))
  })

  router.get('/routers', async (_request, response) => {
    const current = await store.routes.version()
    response.json({
      version: current,
      routers: (await store.routers.list()).map((known) => ({
        name: known.id,
        address: known.address,
        counted: known.counted,
        version: known.version,
        behind: known.version < current,
        processes: known.processes,
        seen_time: new Date(known.seenAt).toISOString(),
        in_flight: known.inFlight,
        long_lived: known.longLived,
        down: known.down,
      })),
    })
  })

  router.delete('/routers/:name', async (request, response) => {
    const name = read(nameSchema, request.params.name)
    if (!(await store.routers.remove(name))) throw new CoppiceError('NotFound', `There is no router ${name}`)
    response.json({})
  })

  return router
}
