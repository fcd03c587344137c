import type { RequestHandler } from 'express'
import type { Exchange } from './exchange.ts'
import type { Limits } from './options.ts'
import { REFUSALS, type Refusal } from './refusal.ts'
import type { Routes } from './routes.ts'

/** Second in the chain: whether this request may go on at all. */
export function admit(parts: { limits: Limits; routes: Routes }): RequestHandler {
  const { limits, routes } = parts
  return (req, _res, next) => {
    const exchange = req.exchange
    exchange.refusal ??= reasonToRefuse(exchange, limits, routes)
    next()
  }
}

function reasonToRefuse(exchange: Exchange, limits: Limits, routes: Routes): Refusal | null {
  if (limits.maxBodyBytes > 0 && Number(exchange.head?.contentLength ?? 0) > limits.maxBodyBytes) {
    return REFUSALS.bodyTooLarge
  }
  const app = exchange.app
  if (app === null) return routes.known ? REFUSALS.noSuchApp : REFUSALS.noTable
  if (app.hasServing) return null
  switch (app.row.status) {
    case 'stopped':
    case 'deleting':
      return REFUSALS.stopped
    default:
      return null
  }
}
