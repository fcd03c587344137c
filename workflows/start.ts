import { runOperation } from './operation.ts'
import type { OperationResult } from './roll-out.ts'

/** Starts a stopped app on its last deployment, without a build (R4.1). Input: `{"app": …}`. */
export const start = (input: unknown): Promise<OperationResult> => runOperation('start', input)
