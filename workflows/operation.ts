/** What every operation does before its roll-out: read the input, find the lock, be admitted. */
import {
  ApplicationFailure,
  CancellationScope,
  ChildWorkflowFailure,
  isCancellation,
  workflowInfo,
} from '@temporalio/workflow'
import { parseInput } from '../domain/inputs.ts'
import { appWorkflowId } from '../domain/product.ts'
import type { OperationType } from '../domain/states.ts'
import { CANCELLED, describeFailure, toWorkflowFailure } from './failures.ts'
import { launch } from './launcher.ts'
import { admit, refuse } from './proxies.ts'
import { type OperationResult, rollOut } from './roll-out.ts'

export function runOperation(type: Exclude<OperationType, 'repair'>, raw: unknown): Promise<OperationResult> {
  return answering(async () => {
    const input = parseInput(type, raw)
    const info = workflowInfo()
    if (info.workflowId !== appWorkflowId(input.app)) return launch(input.app, raw)
    const byHand = input.operation === undefined
    const operation = input.operation ?? operationIdOfRun()
    const startedBy = byHand ? `temporal workflow ${info.parent?.workflowId ?? info.workflowId}` : null
    const { workflowId, runId } = info
    // A cancel does not interrupt it (D14): the workflow would end at once, and leave to a repair what was written meanwhile.
    // The roll-out takes back what was admitted.
    const plan = await CancellationScope.nonCancellable(() =>
      admit({ operation, type, input, startedBy, workflowId, runId }).catch(async (error: unknown) => {
        const failure = describeFailure(error, 'Admit the operation')
        if (!byHand) await refuse(operation, failure)
        throw toWorkflowFailure(failure)
      }),
    )
    return rollOut(plan)
  })
}

/** Stable over a reset: the chain of runs has one first execution. */
export const operationIdOfRun = (): string => `op-${workflowInfo().firstExecutionRunId}`

/** Only failures that Temporal knows may leave a workflow; see `failures.ts`. */
export async function answering<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof ApplicationFailure) throw error
    if (isCancellation(error)) {
      if (CancellationScope.current().consideredCancelled) throw error
      // Somebody cancelled the operation itself, not its launcher.
      throw toWorkflowFailure(CANCELLED)
    }
    // A launcher answers with what its operation said.
    if (error instanceof ChildWorkflowFailure && error.cause instanceof ApplicationFailure) throw error.cause
    throw toWorkflowFailure(describeFailure(error))
  }
}
