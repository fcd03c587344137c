/**
 * Notices changes of the inventory, also those of other processes: `PRAGMA data_version` of a connection of its own
 * moves when any other connection commits (SQLite documentation, "PRAGMA data_version"). Reading it touches only
 * shared memory, about 3 µs, so it can be asked often.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'

/** How often the version is read, in ms: the delay that a publication or an acknowledgement can suffer. */
const POLL_MS = 10

export class ChangeWatch {
  readonly #connection: DatabaseSync
  readonly #version: StatementSync
  readonly #listeners = new Set<() => void>()
  #timer: NodeJS.Timeout | null = null
  #last = -1

  constructor(connection: DatabaseSync) {
    this.#connection = connection
    this.#version = connection.prepare('pragma data_version')
  }

  /** @returns the way to stop listening. */
  onChange(listener: () => void): () => void {
    if (this.#listeners.size === 0) {
      this.#last = this.#read()
      this.#timer = setInterval(() => this.#poll(), POLL_MS)
    }
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#stop()
    }
  }

  /**
   * Asks `look` now, after every change and at least once a second (deadlines pass without a change), until it returns
   * something else than null. Throws the signal's reason.
   */
  async until<T>(look: () => Promise<T | null>, signal?: AbortSignal): Promise<T> {
    let wake: () => void = () => {}
    let changed = false
    const stop = this.onChange(() => {
      changed = true
      wake()
    })
    const aborted = () => wake()
    const clock = setInterval(() => wake(), 1_000)
    signal?.addEventListener('abort', aborted)
    try {
      for (;;) {
        signal?.throwIfAborted()
        changed = false
        const found = await look()
        if (found !== null) return found
        if (!changed)
          await new Promise<void>((resolve) => {
            wake = resolve
            if (changed || signal?.aborted) resolve()
          })
      }
    } finally {
      stop()
      clearInterval(clock)
      signal?.removeEventListener('abort', aborted)
    }
  }

  close(): void {
    this.#listeners.clear()
    this.#stop()
    this.#connection.close()
  }

  #poll(): void {
    const version = this.#read()
    if (version === this.#last) return
    this.#last = version
    for (const listener of [...this.#listeners]) listener()
  }

  #read(): number {
    try {
      return (this.#version.get() as { data_version: number }).data_version
    } catch {
      // A disk that is full or failing: nothing is known to have changed, and the next look is near.
      return this.#last
    }
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }
}
