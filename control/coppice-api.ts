/** What the product's API has no words for: operations with their steps, instances, logs. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Router } from 'express'
import type { Logger } from 'pino'
import { z } from 'zod'
import { CoppiceError } from '../domain/errors.ts'
import { appNameSchema } from '../domain/names.ts'
import type { Store } from '../store/store.ts'
import type { AppReader } from './app-reader.ts'
import { emptySchema, flagSchema, read, readBody } from './bodies.ts'
import { type Changes, SharedLooks } from './changes.ts'
import type { Doctor } from './doctor.ts'
import { type EventStream, type EventStreams, eventText } from './event-stream.ts'
import { FollowedLogs } from './followed-logs.ts'
import { type InstanceLogs, isInstanceOf } from './logs.ts'
import type { OperationStarter } from './operations.ts'
import { pageQuery, pageSize, pageStart, pageToken } from './paging.ts'
import { instanceView, operationView, stepView } from './views.ts'

export type CoppiceApiDeps = {
  store: Store
  apps: AppReader
  operations: OperationStarter
  logs: InstanceLogs
  doctor: Doctor
  changes: Changes
  streams: EventStreams
  log: Pick<Logger, 'warn'>
}

export function coppiceApi({ store, apps, operations, logs, doctor, changes, streams, log }: CoppiceApiDeps): Router {
  const router = Router()
  const instancesOf = new SharedLooks(changes, (app: string) => store.instances.ofApp(app))

  router.get('/apps/:name/instances', async (request, response) => {
    const { name } = await apps.record(request.params.name)
    response.json({ instances: (await store.instances.ofApp(name)).map(instanceView) })
  })

  router.get('/apps/:name/logs', async (request, response) => {
    const { instance, lines, follow } = read(logsQuery, request.query)
    const name = await appWithLogs(request.params.name)
    const chosen = await chooseInstances(name, instance)
    if (!follow) {
      const parts = chosen.map(async (id) => ({ instance: id, lines: await logs.lastLines(id, lines) }))
      return void response.json({ instances: await Promise.all(parts) })
    }
    await streams.serve(request, response, (stream) => followLogs(stream, name, chosen, instance === undefined, lines))
  })

  /** @param andLater also the instances that a deployment brings later. */
  async function followLogs(
    stream: EventStream,
    app: string,
    chosen: string[],
    andLater: boolean,
    lines: number,
  ): Promise<void> {
    const followed = new FollowedLogs({
      logs,
      lines,
      elapsed: () => performance.now(),
      onError: (err, instance) => log.warn({ err, instance }, 'a log that is followed cannot be read'),
    })
    followed.follow(chosen)
    for (;;) {
      if (andLater) followed.follow((await instancesOf.now(app)).map(({ id }) => id))
      let silent = true
      for (const id of followed.ids) {
        await streams.turns.next()
        const written = await followed.more(id)
        if (written.length === 0) continue
        silent = false
        const events = written.map((line) => eventText({ event: 'line', data: { instance: id, line } }))
        await stream.send(Buffer.from(events.join('')))
      }
      if (silent) await sleep(logs.pollMs, undefined, { signal: stream.closed })
    }
  }

  /** An app that a failed creation took away again still left its logs. */
  async function appWithLogs(name: string): Promise<string> {
    const known = appNameSchema.safeParse(name)
    if (known.success && (await logs.instances(name)).length > 0) return name
    return (await apps.record(name)).name
  }

  async function chooseInstances(app: string, wanted: string | undefined): Promise<string[]> {
    if (wanted === undefined) {
      const present = (await store.instances.ofApp(app)).map((instance) => instance.id)
      return present.length > 0 ? present : logs.instances(app)
    }
    const there = await store.instances.ofApp(app)
    // A slot number is what people know an instance by.
    const inSlot = there.filter((instance) => String(instance.slot) === wanted).map((instance) => instance.id)
    if (inSlot.length > 0) return inSlot
    const known = [...there.map((instance) => instance.id), ...(await logs.instances(app))]
    if (!isInstanceOf(app, wanted) || !known.includes(wanted))
      throw new CoppiceError(
        'NotFound',
        `App ${app} has no instance or slot ${wanted}; it has ${known.join(', ') || 'none'}`,
      )
    return [wanted]
  }

  router.get('/operations', async (request, response) => {
    const query = read(z.strictObject({ ...pageQuery, app: z.string().max(64).optional() }), request.query)
    const { operations: page, more } = await store.operations.page({
      app: query.app,
      before: pageStart(query),
      limit: pageSize(query),
      maxBytes: PAGE_BYTES,
    })
    const last = page.at(-1)
    const next = more && last !== undefined ? pageToken(last.id) : undefined
    response.json({ operations: page.map(operationView), ...(next !== undefined && { next_page_token: next }) })
  })

  router.get('/operations/:id', async (request, response) => {
    const operation = await store.operations.get(request.params.id)
    if (operation === null) throw new CoppiceError('NotFound', `There is no operation ${request.params.id}`)
    response.json({ ...operationView(operation), steps: (await store.operations.steps(operation.id)).map(stepView) })
  })

  router.post('/operations/:id/cancel', async (request, response) => {
    readBody(emptySchema, request.body)
    response.json(operationView(await operations.cancel(request.params.id)))
  })

  router.get('/doctor', async (_request, response) => {
    response.json({ checks: await doctor.examine() })
  })

  return router
}

/** Of operations: a failed one has the last lines of a log. A page that ends for this names the next one. */
const PAGE_BYTES = 1024 * 1024

const logsQuery = z.strictObject({
  instance: z.string().max(64).optional(),
  lines: z.coerce.number().int().min(0).max(10_000).default(200),
  follow: flagSchema.default(false),
})
