import type { RequestHandler } from 'express'
import type { Exchange } from './exchange.ts'
import type { Limits } from './options.ts'
import { REFUSALS, type Refusal } from './refusal.ts'

/** Second in the chain: whether this request may go on at all. */
export function admit(parts: { limits: Limits }): RequestHandler {
  const { limits } = parts
  return (req, _res, next) => {
    const exchange = req.exchange
    exchange.refusal ??= reasonToRefuse(exchange, limits)
    next()
  }
}

function reasonToRefuse(exchange: Exchange, limits: Limits): Refusal | null {
  if (limits.maxBodyBytes > 0 && Number(exchange.head?.contentLength ?? 0) > limits.maxBodyBytes) {
    return REFUSALS.bodyTooLarge
  }
  const app = exchange.app
  if (app === null) return REFUSALS.noSuchApp
  if (app.hasServing) return null
  switch (app.row.status) {
    case 'stopped':
    case 'deleting':
      return REFUSALS.stopped
    default:
      return null
  }
}
