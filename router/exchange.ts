import type { Request, Response } from 'express'
import type { KeyDigest } from '../domain/affinity.ts'
import type { Endpoint } from './endpoint.ts'
import type { Peer } from './peer.ts'
import type { Refusal } from './refusal.ts'
import type { RequestHead } from './request-head.ts'
import type { AppRoutes } from './routes.ts'

/** One request on its way through the middlewares, which fill it in from top to bottom. */
export class Exchange {
  readonly req: Request
  readonly res: Response
  /** ms of performance.now(). */
  readonly startedAt: number
  readonly peer: Peer
  requestId = ''
  head: RequestHead | null = null
  /** Why the router answers this request itself. */
  refusal: Refusal | null = null
  app: AppRoutes | null = null

  // identify; of a standard app, which has no sessions, only `app.row.affinity` says that these mean nothing
  key: string | null = null
  digest: KeyDigest | null = null
  /** The client is told which instance answers: it has shown the app's naming key. */
  named = false
  /** The key was made by a router: it may be replaced. */
  minted = false
  /** The key came in the __Host- cookie only; on plain http the app's own twin has to be set beside it. */
  wantsTwin = false
  hasBody = false
  /** May be sent again when the first attempt ended without an answer (RFC 9110 9.2.2). */
  idempotent = false

  // choose
  endpoint: Endpoint | null = null
  /** Endpoints that could not be reached or did not answer, in this request's turn. */
  tried: Endpoint[] | null = null
  /** Slot in which the session lives from now on, with the key that replaces the old one, if one does. */
  newHome: { slot: number; key: string; cause: 'moved' | 'rebalanced' } | null = null
  /**
   * ms of performance.now() after which it does not wait for an instance any more; 0 while it has not waited, or not since
   * an instance had it or it was taken back from one.
   */
  waitUntil = 0

  // forward
  attempts = 0
  /** How often it has left for an instance; no request runs more than twice (R12.2). */
  runs = 0
  clientGone = false
  /** It has waited for its first instance, if it had to. */
  inHand = false
  status = 0
  bytesSent = 0

  constructor(req: Request, res: Response, peer: Peer, startedAt: number) {
    this.req = req
    this.res = res
    this.peer = peer
    this.startedAt = startedAt
  }

  /** Lets go of the request's headers, for a WebSocket, which lives long after they were sent on. */
  forgetHeaders(): void {
    this.req.rawHeaders.length = 0
    if (this.head !== null) this.head.headers.length = 0
    // Behind them, in the same memory.
    this.req.upgradeHead = undefined
  }
}

declare global {
  namespace Express {
    interface Request {
      exchange: Exchange
      /** What came behind a request for an upgrade; undefined with any other. */
      upgradeHead?: Buffer | undefined
    }
  }
}
