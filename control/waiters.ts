/** Those who wait for something to happen, which may also be that they need not wait any more. */
export class Waiters {
  readonly #waiting = new Set<() => void>()

  /** All of them look again. Those that wait again are for the next time. */
  wake(): void {
    const woken = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of woken) wake()
  }

  /** Resolves with the next `wake`. Throws the signal's reason. */
  async next(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.add(resolve)
    const stop = () => resolve()
    signal.addEventListener('abort', stop)
    await promise
    // A stream comes here with every change, and lives as long as its reader.
    signal.removeEventListener('abort', stop)
    this.#waiting.delete(resolve)
    signal.throwIfAborted()
  }
}
