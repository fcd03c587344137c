import type { Exchange } from './exchange.ts'

/** How often those who wait look again by themselves: an instance can return at its address without any change of table. */
const LOOK_AGAIN_MS = 100

/** One that waits; `placed` where it has one of the places. */
type Waiting = { lookAgain: () => void; placed: boolean }

/**
 * Requests that wait for an instance or for a resume; bounded, because each holds a connection. An app may have as many
 * here as there are places left: alone half of them, and whatever others take, there is room for one that has none yet
 * (R1.6). So nobody needs to say how many an app may have, which depends on how many apps are in need.
 *
 * Those that wait for a cut-over take no place: that lasts for seconds at most, and a deployment refuses nobody (R3.4).
 * They are bounded by the connections of a process, of which each has one, as are those in flight, which cost more.
 */
export class WaitingRoom {
  private readonly waiting = new Map<Exchange, Waiting>()
  /** Places taken, by app and in all. */
  private readonly byApp = new Map<string, number>()
  private taken = 0
  private timer: NodeJS.Timeout | null = null
  private readonly places: number
  private waking = false
  /** Who looks again at this moment had a place. */
  private hadPlace = false

  constructor(places: number) {
    this.places = places
  }

  get size(): number {
    return this.waiting.size
  }

  /**
   * @param forCutOver takes no place
   * @returns false when there is no room for it
   */
  enter(exchange: Exchange, lookAgain: () => void, forCutOver = false): boolean {
    if (!forCutOver) {
      const app = nameOf(exchange)
      const own = this.byApp.get(app) ?? 0
      if (!this.hadPlace && own >= this.places - this.taken) return false
      this.byApp.set(app, own + 1)
      this.taken++
    }
    this.waiting.set(exchange, { lookAgain, placed: !forCutOver })
    this.timer ??= setInterval(() => this.wake(), LOOK_AGAIN_MS)
    return true
  }

  /** The client has gone. */
  leave(exchange: Exchange): void {
    this.remove(exchange)
    if (this.waiting.size === 0) this.rest()
  }

  /** Everybody looks again; called at once when a table or the health of an instance has changed. */
  wake(): void {
    if (this.waiting.size === 0 || this.waking) return
    this.waking = true
    try {
      for (const exchange of [...this.waiting.keys()]) {
        const waiting = this.remove(exchange)
        if (waiting === undefined) continue
        this.hadPlace = waiting.placed
        waiting.lookAgain()
      }
    } finally {
      this.waking = false
      this.hadPlace = false
    }
    if (this.waiting.size === 0) this.rest()
  }

  private remove(exchange: Exchange): Waiting | undefined {
    const waiting = this.waiting.get(exchange)
    if (waiting === undefined) return undefined
    this.waiting.delete(exchange)
    if (waiting.placed) {
      const app = nameOf(exchange)
      const own = this.byApp.get(app) as number
      if (own > 1) this.byApp.set(app, own - 1)
      else this.byApp.delete(app)
      this.taken--
    }
    return waiting
  }

  private rest(): void {
    if (this.timer !== null) clearInterval(this.timer)
    this.timer = null
  }
}

const nameOf = (exchange: Exchange): string => exchange.app?.name ?? ''
