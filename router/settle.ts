import type { RequestHandler } from 'express'
import type { AccessLog } from './access-log.ts'
import type { Metrics } from './metrics.ts'
import type { Sessions } from './sessions.ts'

/** Last in the chain, when the client has its answer or has gone: what remains of a request is counted here. */
export function settle(parts: { metrics: Metrics; sessions: Sessions; log: AccessLog }): RequestHandler {
  const { metrics, sessions, log } = parts
  return (req) => {
    const exchange = req.exchange
    const ms = performance.now() - exchange.startedAt
    if (exchange.refusal !== null) metrics.refused(exchange.refusal.reason)
    if (exchange.status === 101) exchange.app && exchange.app.metrics.upgrades++
    else exchange.app?.metrics.observe(exchange.status, ms)
    if (exchange.digest !== null && exchange.endpoint !== null && exchange.status !== 0) {
      const { instance } = exchange.endpoint
      sessions.seen(exchange.digest.a, instance, (Date.now() / 60_000) | 0)
    }
    log.request(exchange, ms)
  }
}
