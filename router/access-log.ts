import type { LineOutput } from '../logging/line-output.ts'
import type { Exchange } from './exchange.ts'
import type { AccessLogOptions } from './options.ts'

/** One JSON line a request, written in batches. Never holds up traffic: what cannot be written is lost and counted. */
export class AccessLog {
  private pending: string[] = []
  private scheduled = false
  private readonly sample: number
  private readonly out: LineOutput
  private readonly random: () => number

  constructor(options: AccessLogOptions, out: LineOutput, random: () => number) {
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
    this.out.write(`${this.pending.join('\n')}\n`)
    this.pending = []
  }
}
