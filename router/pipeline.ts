import express, { type Express } from 'express'
import type { AccessLog } from './access-log.ts'
import { admit } from './admit.ts'
import { answer } from './answer.ts'
import type { Bulk } from './bulk.ts'
import { chooser } from './choose.ts'
import type { Endpoint } from './endpoint.ts'
import { Exchange } from './exchange.ts'
import { forward } from './forward.ts'
import { identify } from './identify.ts'
import { leanClasses } from './lean-http.ts'
import type { Metrics } from './metrics.ts'
import type { RouterOptions } from './options.ts'
import { Peers } from './peer.ts'
import type { RebalanceNotes } from './rebalance-count.ts'
import { badRequest, REFUSALS } from './refusal.ts'
import { HeadReader } from './request-head.ts'
import { ResponseHeads } from './response-head.ts'
import { RouterCookies } from './router-cookie.ts'
import type { Routes } from './routes.ts'
import type { Sessions } from './sessions.ts'
import { settle } from './settle.ts'
import type { WaitingRoom } from './waiting-room.ts'

export type PipelineParts = {
  options: RouterOptions
  routes: Routes
  metrics: Metrics
  sessions: Sessions
  room: WaitingRoom
  log: AccessLog
  /** Unsigned 32-bit words from a cryptographic source. */
  random: () => number
  bulk: Bulk
  rebalances: RebalanceNotes
  suspect(endpoint: Endpoint): void
  /** Something threw that never should: it costs one request, and is told. */
  defect(error: Error): void
  stopping(): boolean
}

export type Pipeline = {
  handle(req: express.Request, res: express.Response): void
  /** What requests and responses have to be made of. */
  classes: ReturnType<typeof leanClasses>
}

/** The one chain that every request passes (DESIGN D9): identify → admit → choose → forward → settle. */
export function pipeline(parts: PipelineParts): Pipeline {
  const { options, routes, metrics, sessions, room, log, random } = parts
  const heads = new HeadReader(options.limits)
  const peers = new Peers(options.trustedProxies)
  const cookies = new RouterCookies((name) => routes.forName(name) !== undefined)
  const choose = chooser({ routes, room, timeouts: options.timeouts, random: () => random() / 2 ** 32 })

  const app: Express = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.set('query parser', false)
  app.use(identify({ heads, peers, routes, cookies, hosts: options.hosts }))
  app.use(admit({ limits: options.limits, routes }))
  app.use(choose.middleware)
  app.use(
    forward({
      options,
      chooser: choose,
      room,
      random,
      suspect: parts.suspect,
      defect: parts.defect,
      stopping: parts.stopping,
      bulk: parts.bulk,
      rebalances: parts.rebalances,
      heads: new ResponseHeads(cookies),
      servedBy: options.servedBy,
    }),
  )
  app.use(settle({ metrics, sessions, log }))

  /** Express reaches no middleware for a target that it cannot parse as a URL, and leaves one that throws. */
  const unhandled = (req: express.Request, res: express.Response, error: unknown) => {
    if (error instanceof Error) parts.defect(error)
    if (res.headersSent || res.destroyed) return
    const exchange = req.exchange ?? new Exchange(req, res, peers.of(req.socket), performance.now())
    exchange.refusal = error instanceof Error ? REFUSALS.defect : badRequest('The request target is not a path.')
    metrics.refused(exchange.refusal.reason)
    answer(exchange, exchange.refusal, parts.stopping())
  }
  type Handle = (req: express.Request, res: express.Response, done: (error?: unknown) => void) => void
  const handle = app as unknown as Handle
  return { handle: (req, res) => handle(req, res, (error) => unhandled(req, res, error)), classes: leanClasses(app) }
}
