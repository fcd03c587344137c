import type { Endpoint } from './endpoint.ts'

/**
 * Long-lived connections of an endpoint that drains live until its drain deadline. The last of the time before it is
 * used to close them one by one, so that their clients do not come back all at once (R6.2).
 */
export class DrainDeadlines {
  private readonly spreadMs: number

  constructor(spreadMs: number) {
    this.spreadMs = spreadMs
  }

  /** @param timeoutMs how long the endpoint may take, from now */
  add(endpoint: Endpoint, timeoutMs: number): void {
    const spread = Math.min(this.spreadMs, timeoutMs / 2)
    const leave = () => {
      // A later table may have called it back.
      if (endpoint.state !== 'serving') this.leaveAll([endpoint], spread)
    }
    setTimeout(leave, Math.max(0, timeoutMs - spread)).unref()
  }

  leaveAll(endpoints: Endpoint[], withinMs: number): void {
    const all = endpoints.flatMap((endpoint) => [...endpoint.longLived])
    // The last of them still needs a moment to say goodbye before the deadline.
    const step = (withinMs * 0.8) / Math.max(1, all.length)
    all.forEach((connection, i) => {
      if (i === 0) connection.leave()
      else setTimeout(() => connection.leave(), i * step).unref()
    })
  }
}
