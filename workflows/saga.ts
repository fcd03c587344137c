/**
 * The undo half of a saga (Garcia-Molina and Salem, "Sagas", 1987): compensations are registered *before* the step
 * that they undo, because a step can take effect and then time out, so each tolerates "never happened".
 */
import { CancellationScope } from '@temporalio/workflow'
import { describeFailure } from './failures.ts'

type Compensation = { words: string; undo: () => Promise<void> }

export class Saga {
  readonly #compensations: Compensation[] = []

  /** `words` say what is undone, for the failure's details if it cannot be. */
  register(words: string, undo: () => Promise<void>): void {
    this.#compensations.push({ words, undo })
  }

  /**
   * Undoes everything, the last step first, whatever cancels the workflow meanwhile. A compensation that fails does
   * not keep the others from running.
   *
   * @returns what could not be undone, in plain words.
   */
  compensate(): Promise<string[]> {
    return CancellationScope.nonCancellable(async () => {
      const failures: string[] = []
      for (const { words, undo } of this.#compensations.toReversed())
        await undo().catch((error: unknown) => {
          failures.push(`${words}: ${describeFailure(error).message}`)
        })
      return failures
    })
  }
}
