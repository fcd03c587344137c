import type { Instances } from './contracts.ts'

type Started = Awaited<ReturnType<Instances['start']>>
type StartOptions = NonNullable<Parameters<Instances['start']>[1]>

/**
 * One attempt to bring an instance up, which any number of callers wait for. When the last caller gives up so does
 * the attempt, unless it is the worker's own (a restart), which nobody has to wait for.
 */
export class Attempt {
  readonly #aborter = new AbortController()
  readonly #listeners = new Set<(words: string) => void>()
  readonly #result: Promise<Started>
  readonly #own: boolean
  #waiting = 0

  constructor(own: boolean, work: (signal: AbortSignal, report: (words: string) => void) => Promise<Started>) {
    this.#own = own
    this.#result = work(this.#aborter.signal, (words) => {
      for (const listener of this.#listeners) listener(words)
    })
    this.#result.catch(() => undefined)
  }

  get aborted(): boolean {
    return this.#aborter.signal.aborted
  }

  abort(reason: Error): void {
    this.#aborter.abort(reason)
  }

  async settled(): Promise<void> {
    await this.#result.catch(() => undefined)
  }

  async join({ signal, onProgress }: StartOptions): Promise<Started> {
    if (onProgress) this.#listeners.add(onProgress)
    this.#waiting += 1
    try {
      return await (signal ? orAbort(this.#result, signal) : this.#result)
    } finally {
      this.#waiting -= 1
      if (onProgress) this.#listeners.delete(onProgress)
      if (this.#waiting === 0 && !this.#own && signal?.aborted) this.abort(signal.reason)
    }
  }
}

function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
