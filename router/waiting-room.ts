import type { Exchange } from './exchange.ts'

/** How often those who wait look again by themselves: an instance can return at its address without any change of table. */
const LOOK_AGAIN_MS = 100

/** Requests that wait for an instance or for a resume; bounded, because each holds a connection. */
export class WaitingRoom {
  private readonly waiting = new Map<Exchange, () => void>()
  private timer: NodeJS.Timeout | null = null
  private readonly maxWaiting: number

  constructor(maxWaiting: number) {
    this.maxWaiting = maxWaiting
  }

  get size(): number {
    return this.waiting.size
  }

  /** @returns false when the room is full */
  enter(exchange: Exchange, lookAgain: () => void): boolean {
    if (this.waiting.size >= this.maxWaiting) return false
    this.waiting.set(exchange, lookAgain)
    this.timer ??= setInterval(() => this.wake(), LOOK_AGAIN_MS)
    return true
  }

  /** The client has gone. */
  leave(exchange: Exchange): void {
    this.waiting.delete(exchange)
    if (this.waiting.size === 0) this.rest()
  }

  /** Everybody looks again; called at once when a table or the health of an instance has changed. */
  wake(): void {
    if (this.waiting.size === 0) return
    const everybody = [...this.waiting.values()]
    this.waiting.clear()
    for (const lookAgain of everybody) lookAgain()
    if (this.waiting.size === 0) this.rest()
  }

  private rest(): void {
    if (this.timer !== null) clearInterval(this.timer)
    this.timer = null
  }
}
