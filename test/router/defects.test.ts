import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { logOutput } from '../../logging/logger.ts'
import { AccessLog } from '../../router/access-log.ts'
import { Bulk } from '../../router/bulk.ts'
import { createListener, listenOn } from '../../router/listener.ts'
import { Metrics } from '../../router/metrics.ts'
import { resolveOptions } from '../../router/options.ts'
import { pipeline } from '../../router/pipeline.ts'
import { RebalanceNotes } from '../../router/rebalance-count.ts'
import { Routes } from '../../router/routes.ts'
import { Sessions } from '../../router/sessions.ts'
import { TurnedAway } from '../../router/turned-away.ts'
import { WaitingRoom } from '../../router/waiting-room.ts'
import { ask } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { app, table } from './support/tables.ts'

/** The chain of a router in this process, of which a part can be made to throw. */
describe('a part of the router that throws', () => {
  let origin: Origin
  let close: () => Promise<void>
  const defects: string[] = []
  let throwsAt = Number.POSITIVE_INFINITY
  let draws = 0
  const router = { port: 0 }

  beforeAll(async () => {
    origin = await startOrigin('a')
    const options = resolveOptions(['--routes', 'none'], {})
    const metrics = new Metrics()
    const room = new WaitingRoom(10)
    const routes = new Routes(options.timeouts, metrics, {
      onChange: () => room.wake(),
      onIdle: () => undefined,
      onSpeaks: () => undefined,
      onDraining: () => undefined,
    })
    routes.apply(table(1, app('app', [origin])))
    const chain = pipeline({
      options,
      routes,
      metrics,
      sessions: new Sessions(),
      room,
      log: new AccessLog({ sample: 0 }, logOutput({}), Math.random),
      random: () => {
        if (++draws >= throwsAt) throw new RangeError('out of luck')
        return (Math.random() * 2 ** 32) >>> 0
      },
      bulk: new Bulk(() => undefined),
      rebalances: new RebalanceNotes(),
      suspect: () => undefined,
      defect: (error) => defects.push(error.message),
      stopping: () => false,
    })
    const turnedAway = new TurnedAway(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, metrics, {
      warn: () => undefined,
    } as never)
    const server = createListener({ options, metrics, tls: null, pipeline: chain, requestId: () => 'id', turnedAway })
    await listenOn(server, { host: '127.0.0.1', port: 0 })
    router.port = (server.address() as AddressInfo).port
    close = async () => {
      routes.apply(table(2))
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
      await origin.close()
    }
  })
  afterAll(() => close())

  it.each([
    ['before a request is sent', 'GET', 1, 'RouterDefect', 0],
    ['when its answer is there', 'GET', 2, 'UpstreamFailed', 1],
    ['when its answer is there', 'POST', 2, 'UpstreamFailed', 1],
  ])(
    'R13.2 %s (%s) costs that one request a 502, is told, and repeats nothing',
    async (_when, method, at, reason, sent) => {
      defects.length = 0
      origin.seen.length = 0
      draws = 0
      throwsAt = at
      const body = method === 'POST' ? 'abc' : undefined
      const failed = await ask(router, { method, body })
      expect([failed.status, failed.headers['x-coppice-router']]).toEqual([502, reason])
      expect(JSON.parse(failed.text).error_code).toBe(reason)
      expect(defects).toEqual(['out of luck'])
      expect(origin.seen).toHaveLength(sent)
      throwsAt = Number.POSITIVE_INFINITY
      expect((await ask(router, { method, body })).status).toBe(200)
    },
  )
})
