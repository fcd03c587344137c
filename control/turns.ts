/**
 * Work that can wait, one piece at a time: between two pieces everything else that the process has to do comes first.
 * Without it hundreds of followers that are ready at once would be served in one go, and nobody else meanwhile.
 */
export class Turns {
  readonly #queue: Array<() => void> = []
  #running = false

  /** Resolves when it is the caller's turn. A piece lasts until the caller waits for something, and should take 1 or 2 ms. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#queue.push(resolve)
      if (!this.#running) this.#run()
    })
  }

  #run(): void {
    this.#running = true
    // The phase of immediates comes after that of input and output, once in each round of the event loop.
    setImmediate(() => {
      this.#queue.shift()?.()
      if (this.#queue.length > 0) this.#run()
      else this.#running = false
    })
  }
}
