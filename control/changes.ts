/** Changes of the inventory, as all who wait for one share them. */
import type { ChangeWatch } from '../store/watch.ts'
import { Waiters } from './waiters.ts'

export class Changes {
  #count = 0
  readonly #waiting = new Waiters()
  readonly #stop: () => void

  constructor(watch: Pick<ChangeWatch, 'onChange'>) {
    this.#stop = watch.onChange(() => {
      this.#count++
      this.#waiting.wake()
    })
  }

  /** Grows with every change: whoever looked at the inventory at this count has seen all that is behind it. */
  get count(): number {
    return this.#count
  }

  /** Resolves once the count is past `seen`. Throws the signal's reason. */
  async past(seen: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#count <= seen) await this.#waiting.next(signal)
  }

  close(): void {
    this.#stop()
  }
}

/** One look at the inventory for everybody who wants to know the same after the same change. */
export class SharedLooks<Key, T> {
  readonly #changes: Pick<Changes, 'count'>
  readonly #look: (key: Key) => Promise<T>
  readonly #found = new Map<Key, Promise<T>>()
  #at = -1

  constructor(changes: Pick<Changes, 'count'>, look: (key: Key) => Promise<T>) {
    this.#changes = changes
    this.#look = look
  }

  now(key: Key): Promise<T> {
    if (this.#at !== this.#changes.count) {
      this.#at = this.#changes.count
      this.#found.clear()
    }
    const known = this.#found.get(key)
    if (known !== undefined) return known
    const found = this.#look(key)
    this.#found.set(key, found)
    // The next one who asks tries for himself.
    found.catch(() => {
      if (this.#found.get(key) === found) this.#found.delete(key)
    })
    return found
  }
}
