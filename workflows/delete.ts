import { runOperation } from './operation.ts'
import type { OperationResult } from './roll-out.ts'

/** Stops an app and removes it with its deployments. Input: `{"app": …}`. */
export const deleteApp = (input: unknown): Promise<OperationResult> => runOperation('delete', input)
