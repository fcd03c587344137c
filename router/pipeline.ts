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
import { badRequest } from './refusal.ts'
import { HeadReader } from './request-head.ts'
import { ResponseHeads } from './response-head.ts'
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
  const choose = chooser({ routes, room, timeouts: options.timeouts, random: () => random() / 2 ** 32 })

  const app: Express = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.set('query parser', false)
  app.use(identify({ heads, peers, routes, hosts: options.hosts }))
  app.use(admit({ limits: options.limits, stopping: parts.stopping }))
  app.use(choose.middleware)
  app.use(
    forward({
      options,
      chooser: choose,
      room,
      random,
      suspect: parts.suspect,
      bulk: parts.bulk,
      rebalances: parts.rebalances,
      heads: new ResponseHeads(),
      servedBy: options.servedBy,
      writeStallMs: options.timeouts.writeStallMs,
    }),
  )
  app.use(settle({ metrics, sessions, log }))

  /** Express reaches no middleware for a target that it cannot parse as a URL. */
  const unparsable = (req: express.Request, res: express.Response) => {
    if (res.headersSent || res.destroyed) return
    const exchange = new Exchange(req, res, peers.of(req.socket), performance.now())
    exchange.refusal = badRequest('The request target is not a path.')
    metrics.refused(exchange.refusal.reason)
    answer(exchange, exchange.refusal)
  }
  type Handle = (req: express.Request, res: express.Response, done: () => void) => void
  const handle = app as unknown as Handle
  return { handle: (req, res) => handle(req, res, () => unparsable(req, res)), classes: leanClasses(app) }
}
