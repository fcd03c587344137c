/** How long it may hold the event loop before it lets others run, in ms. */
const SLICE_MS = 2

/** The part of a long synchronous work that is done in one go: `if (slice.isOver) await slice.next()`. */
export class Slice {
  #ends = performance.now() + SLICE_MS

  get isOver(): boolean {
    return performance.now() >= this.#ends
  }

  async next(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    this.#ends = performance.now() + SLICE_MS
  }
}
