import type { Exchange } from './exchange.ts'

/** How often those who wait look again by themselves: an instance can return at its address without any change of table. */
const LOOK_AGAIN_MS = 100

/**
 * Requests that wait for an instance or for a resume; bounded, because each holds a connection. An app may have as many
 * here as there are places left: alone half of them, and whatever others take, there is room for one that has none yet
 * (R1.6). So nobody needs to say how many an app may have, which depends on how many apps are in need.
 */
export class WaitingRoom {
  private readonly waiting = new Map<Exchange, () => void>()
  private readonly byApp = new Map<string, number>()
  private timer: NodeJS.Timeout | null = null
  private readonly places: number
  private waking = false

  constructor(places: number) {
    this.places = places
  }

  get size(): number {
    return this.waiting.size
  }

  /** @returns false when there is no room for it */
  enter(exchange: Exchange, lookAgain: () => void): boolean {
    const app = nameOf(exchange)
    const own = this.byApp.get(app) ?? 0
    // Who looks again has his place already.
    if (!this.waking && own >= this.places - this.waiting.size) return false
    this.byApp.set(app, own + 1)
    this.waiting.set(exchange, lookAgain)
    this.timer ??= setInterval(() => this.wake(), LOOK_AGAIN_MS)
    return true
  }

  /** The client has gone. */
  leave(exchange: Exchange): void {
    if (!this.waiting.delete(exchange)) return
    const app = nameOf(exchange)
    const own = this.byApp.get(app) as number
    if (own > 1) this.byApp.set(app, own - 1)
    else this.byApp.delete(app)
    if (this.waiting.size === 0) this.rest()
  }

  /** Everybody looks again; called at once when a table or the health of an instance has changed. */
  wake(): void {
    if (this.waiting.size === 0 || this.waking) return
    const everybody = [...this.waiting.values()]
    this.waiting.clear()
    this.byApp.clear()
    this.waking = true
    try {
      for (const lookAgain of everybody) lookAgain()
    } finally {
      this.waking = false
    }
    if (this.waiting.size === 0) this.rest()
  }

  private rest(): void {
    if (this.timer !== null) clearInterval(this.timer)
    this.timer = null
  }
}

const nameOf = (exchange: Exchange): string => exchange.app?.name ?? ''
