import { runOperation } from './operation.ts'
import type { OperationResult } from './roll-out.ts'

/** Stops an app: its instances drain and go, everything else stays. Input: `{"app": …}`. */
export const stop = (input: unknown): Promise<OperationResult> => runOperation('stop', input)
