import { runOperation } from './operation.ts'
import type { OperationResult } from './roll-out.ts'

/** Runs a new deployment of an app in the place of the old one (R3.3, R3.4). Input: `DeployInput`. */
export const deploy = (input: unknown): Promise<OperationResult> => runOperation('deploy', input)
