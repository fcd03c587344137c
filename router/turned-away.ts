import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { Metrics } from './metrics.ts'
import { isOwnError } from './own-errors.ts'

/** Clients leave so much of a process's descriptors to connections to instances, and to its own files. */
const KEPT = 0.25
const MOST_KEPT = 1000

/**
 * Client connections that were closed as soon as they came, for want of room. The router is well again by itself when
 * there is room; until then one line a second says so. Without the part that is kept, clients alone could take all
 * descriptors: then nobody is served, and libuv closes what comes next without telling anybody.
 */
export class TurnedAway {
  private told = 0
  private readonly limit: number
  private readonly maxConnections: number
  private readonly metrics: Metrics
  private readonly log: Logger

  /** @param limit descriptors that this process may have */
  constructor(limit: number, maxConnections: number, metrics: Metrics, log: Logger) {
    this.limit = limit
    this.maxConnections = maxConnections
    this.metrics = metrics
    this.log = log
  }

  /**
   * Whether there is room for a connection that was just accepted. The kernel gives the lowest number that is free.
   *
   * @param connections how many there are besides, on all ports of this process
   */
  admits(socket: Socket, connections: number): boolean {
    if (connections >= this.maxConnections) {
      this.metrics.turnedAway.maxConnections++
      return false
    }
    const { fd } = (socket as { _handle?: { fd?: number } | null })._handle ?? {}
    if (fd === undefined || fd < this.limit - Math.min(this.limit * KEPT, MOST_KEPT)) return true
    this.metrics.turnedAway.descriptors++
    return false
  }

  failedToAccept(error: Error): void {
    if (isOwnError(error)) this.metrics.turnedAway.descriptors++
  }

  /** To be called once a second. */
  tell(): void {
    const { descriptors, maxConnections } = this.metrics.turnedAway
    // Those were let in, but no connection to an instance could be made for them.
    const unconnected = this.metrics.refusalsFor('RouterOverloaded')
    const now = descriptors + maxConnections + unconnected
    if (now === this.told) return
    this.told = now
    this.log.warn(
      { event: 'turned-away', descriptors, maxConnections, unconnected, limit: this.limit },
      descriptors + unconnected > 0
        ? 'this process is out of descriptors and turns clients away (totals since its start); raise its limit of open files (ulimit -n)'
        : 'this process has --limit maxConnections connections and turns clients away (totals since its start)',
    )
  }
}

/** How many descriptors this process may have; node has raised its soft limit to the hard one. */
export function maxDescriptors(): number {
  try {
    const found = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return found === undefined ? Number.POSITIVE_INFINITY : Number(found)
  } catch {
    // Not on Linux.
    return Number.POSITIVE_INFINITY
  }
}
