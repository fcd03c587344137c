/** Which table the routers have at hand, so that they put it into force together. */
import { reaches, type TableId } from '../domain/route-table.ts'
import { Waiters } from './waiters.ts'

/** A router that hangs keeps the others, and the requests that wait in them, no longer. */
const LONGEST_WAIT_MS = 3_000

type Follower = {
  streams: number
  /** What it said last that it holds or has in force; null before its first word. */
  has: TableId | null
  /** The others have waited for it in vain: not again before it has caught up with this. */
  lateFor: TableId | null
}

/**
 * Routers that follow the stream of tables (D7). One that gets a table which takes apps to other instances holds it: it
 * lets the new requests of these apps wait, and says so in a report. Each gets the word to put it into force when all the
 * others hold it, so that no client of two routers is answered by the old version after the new one (R3.4).
 */
export class Barrier {
  readonly #known = new Map<string, Follower>()
  readonly #waiting = new Waiters()

  /** @returns to be called when its stream has ended. */
  follow(router: string): () => void {
    const follower = this.#known.get(router) ?? { streams: 0, has: null, lateFor: null }
    this.#known.set(router, follower)
    follower.streams++
    return () => {
      if (--follower.streams > 0) return
      this.#known.delete(router)
      this.#waiting.wake()
    }
  }

  /** A report of it has come. One that has no stream open is nobody's concern. */
  has(router: string, table: TableId): void {
    const follower = this.#known.get(router)
    if (follower === undefined) return
    follower.has = table
    if (follower.lateFor !== null && reaches(table, follower.lateFor)) follower.lateFor = null
    this.#waiting.wake()
  }

  /** Resolves when every follower but this one has `table`, or has been waited for long enough. Throws the signal's reason. */
  async reachedByOthers(router: string, table: TableId, signal: AbortSignal): Promise<void> {
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      this.#waiting.wake()
    }, LONGEST_WAIT_MS)
    try {
      for (;;) {
        signal.throwIfAborted()
        const awaited = [...this.#known].filter(([name, one]) => name !== router && isAwaited(one, table))
        if (isLate) for (const [, follower] of awaited) follower.lateFor = table
        if (isLate || awaited.length === 0) return
        await this.#waiting.next(signal)
      }
    } finally {
      clearTimeout(timer)
    }
  }
}

/** One that has said nothing yet has only just come, and nobody knows whether it ever will. */
const isAwaited = ({ has, lateFor }: Follower, table: TableId): boolean =>
  has !== null && lateFor === null && !reaches(has, table)
