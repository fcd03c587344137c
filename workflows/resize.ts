import { runOperation } from './operation.ts'
import type { OperationResult } from './roll-out.ts'

/** Changes the number of instances, their size, or both, without a build (R6.1). Input: `{"app": …, "instances": 3}`. */
export const resize = (input: unknown): Promise<OperationResult> => runOperation('resize', input)
