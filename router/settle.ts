import type { RequestHandler } from 'express'
import { digestKey, shedRank } from '../domain/affinity.ts'
import type { AccessLog } from './access-log.ts'
import type { Exchange } from './exchange.ts'
import type { Metrics } from './metrics.ts'
import { NOT_MINTED, type Sessions } from './sessions.ts'

/** Last in the chain, when the client has its answer or has gone: what remains of a request is counted here. */
export function settle(parts: { metrics: Metrics; sessions: Sessions; log: AccessLog }): RequestHandler {
  const { metrics, sessions, log } = parts
  return (req) => {
    const exchange = req.exchange
    const ms = performance.now() - exchange.startedAt
    if (exchange.refusal !== null) metrics.refused(exchange.refusal.reason)
    if (exchange.status === 101) exchange.app && exchange.app.metrics.upgrades++
    else exchange.app?.metrics.observe(exchange.status, ms)
    countSession(exchange, ms, sessions)
    log.request(exchange, ms)
  }
}

function countSession(exchange: Exchange, tookMs: number, sessions: Sessions): void {
  const { app, digest, minted, endpoint, newHome, status } = exchange
  if (!app?.row.affinity || digest === null || endpoint === null || status === 0) return
  // One key can be a session of several apps.
  const hash = (digest.a ^ app.hash) >>> 0
  const now = Date.now()
  const came = ((now - tookMs) / 60_000) | 0
  if (newHome !== null && newHome.slot === endpoint.slot) {
    sessions.moved(hash, (now / 60_000) | 0)
    const moved = digestKey(newHome.key)
    sessions.seen((moved.a ^ app.hash) >>> 0, endpoint.instance, came, shedRank(moved))
  } else sessions.seen(hash, endpoint.instance, came, minted ? shedRank(digest) : NOT_MINTED)
}
