/** The steps of a saga in plain words, for `temporal workflow describe` and Temporal's UI (DESIGN D16). */
import { setCurrentDetails } from '@temporalio/workflow'

export class Progress {
  readonly #steps: Array<{ words: string; state: 'running' | 'done' | 'failed' }> = []
  #current: string | undefined

  /** The step that runs now, or ran last. */
  get current(): string | undefined {
    return this.#current
  }

  async step<T>(words: string, work: () => Promise<T>): Promise<T> {
    const entry = { words, state: 'running' as 'running' | 'done' | 'failed' }
    this.#steps.push(entry)
    this.#current = words
    this.#show()
    try {
      const result = await work()
      entry.state = 'done'
      return result
    } catch (error) {
      entry.state = 'failed'
      this.#current = words
      throw error
    } finally {
      this.#show()
    }
  }

  #show(): void {
    const mark = { running: '[ ]', done: '[x]', failed: '[!]' } as const
    setCurrentDetails(this.#steps.map(({ words, state }) => `- ${mark[state]} ${words}`).join('\n'))
  }
}
