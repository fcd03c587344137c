import { STATUS_CODES } from 'node:http'
import type { Exchange } from './exchange.ts'
import { OWN_ANSWER_HEADER, type Refusal, refusalBody } from './refusal.ts'

/** How long a client may go on sending a body that nobody reads, so that it finds the answer behind it. */
const LINGER_MS = 1000

/** The router answers itself. @param stopping the connection ends with the answer */
export function answer(exchange: Exchange, refusal: Refusal, stopping: boolean): void {
  const { req, res } = exchange
  if (res.headersSent || res.destroyed) {
    res.destroy()
    return
  }
  const { type, body } = refusalBody(refusal, exchange.head?.accept ?? null, exchange.requestId)
  // Unless its body has arrived whole, nobody knows where the next request on this connection begins.
  const close = stopping || refusal.close === true || bodyIsComing(exchange)
  if (close) res.shouldKeepAlive = false
  const headers = ['content-type', type, 'content-length', String(Buffer.byteLength(body)), 'cache-control', 'no-store']
  headers.push(OWN_ANSWER_HEADER, refusal.reason, 'x-request-id', exchange.requestId)
  if (refusal.retryAfter !== undefined) headers.push('retry-after', String(refusal.retryAfter))
  if (close) headers.push('connection', 'close')
  // Those that it only comes to on the way are counted and logged like the others.
  exchange.refusal = refusal
  exchange.status = refusal.status
  exchange.bytesSent = body.length
  // In words too: an answer of the instance that could not be passed on may have left its own behind.
  res.writeHead(refusal.status, STATUS_CODES[refusal.status], headers)
  endLingering(exchange, req.method === 'HEAD' ? null : body)
}

/**
 * Ends the answer. While the client still sends a body the connection stays open for a moment: closed at once, the
 * kernel answers the rest of the body with a reset, which makes the client lose the answer too (RFC 9112 9.6).
 */
export function endLingering(exchange: Exchange, last: string | Buffer | null): void {
  const { req, res } = exchange
  if (!bodyIsComing(exchange) || req.upgradeHead !== undefined) {
    if (last === null) res.end()
    else res.end(last)
    return
  }
  if (last === null) res.flushHeaders()
  else res.write(last)
  const timer = setTimeout(end, LINGER_MS)
  req.on('end', end)
  req.on('close', end)
  req.resume()
  function end() {
    clearTimeout(timer)
    req.off('end', end)
    req.off('close', end)
    if (!res.writableEnded) res.end()
  }
}

function bodyIsComing({ req, head, hasBody }: Exchange): boolean {
  if (req.complete) return false
  // A head that was refused as malformed was not looked at any further.
  return head === null
    ? req.headers['content-length'] !== undefined || req.headers['transfer-encoding'] !== undefined
    : hasBody
}
