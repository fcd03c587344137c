import type { Exchange } from './exchange.ts'
import type { AccessLogOptions } from './options.ts'

/** How much may wait for a slow reader of the log before lines are dropped (and counted). */
const MAX_PENDING_BYTES = 4 * 1024 * 1024

/** One JSON line a request, written in batches. Never holds up traffic: what the reader does not take is dropped. */
export class AccessLog {
  dropped = 0
  private pending: string[] = []
  private scheduled = false
  private readonly sample: number
  private readonly out: NodeJS.WriteStream
  private readonly random: () => number

  constructor(options: AccessLogOptions, out: NodeJS.WriteStream, random: () => number) {
    this.sample = options.sample
    this.out = out
    this.random = random
  }

  request(exchange: Exchange, ms: number): void {
    if (this.sample === 0) return
    if (this.sample < 1 && exchange.refusal === null && this.random() >= this.sample) return
    const { req, head, app, endpoint } = exchange
    this.pending.push(
      JSON.stringify({
        time: new Date().toISOString(),
        event: 'request',
        request: exchange.requestId,
        app: app?.name ?? null,
        instance: endpoint?.instance ?? null,
        slot: endpoint?.slot ?? null,
        deployment: endpoint?.deployment || null,
        method: req.method,
        host: head?.host ?? null,
        path: req.url,
        status: exchange.clientGone && exchange.status === 0 ? 499 : exchange.status,
        cause: exchange.refusal?.reason ?? null,
        clientGone: exchange.clientGone,
        ms: Math.round(ms * 100) / 100,
        bytes: exchange.bytesSent,
        attempts: exchange.attempts,
        client: exchange.peer.ip,
      }),
    )
    if (this.scheduled) return
    this.scheduled = true
    setTimeout(() => this.flush(), 50)
  }

  flush(): void {
    this.scheduled = false
    if (this.pending.length === 0) return
    if (this.out.writableLength > MAX_PENDING_BYTES) this.dropped += this.pending.length
    else this.out.write(`${this.pending.join('\n')}\n`)
    this.pending = []
  }
}
