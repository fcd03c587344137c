import { runOperation } from './operation.ts'
import type { OperationResult } from './roll-out.ts'

/** Turns a standard app into a scaled one or back, with one instance, while it serves (R5). Input: `{"app": …, "to": "scaled" | "standard"}`. */
export const convert = (input: unknown): Promise<OperationResult> => runOperation('convert', input)
