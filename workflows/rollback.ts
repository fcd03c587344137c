import { runOperation } from './operation.ts'
import type { OperationResult } from './roll-out.ts'

/** Runs an earlier deployment again, from the artifact that is kept. Input: `{"app": …, "deployment": …}`. */
export const rollback = (input: unknown): Promise<OperationResult> => runOperation('rollback', input)
