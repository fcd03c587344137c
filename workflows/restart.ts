import { runOperation } from './operation.ts'
import type { OperationResult } from './roll-out.ts'

/** Puts fresh instances of the running deployment in the place of the old ones, without a gap. Input: `{"app": …}`. */
export const restart = (input: unknown): Promise<OperationResult> => runOperation('restart', input)
