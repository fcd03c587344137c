/**
 * Notices operations that are open in the inventory but have no workflow any more (terminated, reset away, lost with
 * Temporal's database, never started because the control plane died) and starts a repair for each (R10.6).
 */
import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client'
import { appWorkflowId, TASK_QUEUE } from '../domain/product.ts'
import type { Operation } from '../domain/records.ts'
import type { Store } from '../store/store.ts'
import type { Logger } from './logger.ts'

/** Between the API's record of an operation and the start of its workflow lie milliseconds. */
const REQUEST_GRACE_MS = 10_000

export type LostOperationsDeps = { store: Store; client: Client; logger: Logger; now: () => number }

/** @returns the apps for which a repair was started. */
export async function repairLostOperations({ store, client, logger, now }: LostOperationsDeps): Promise<string[]> {
  const repaired: string[] = []
  for (const operation of await store.operations.open()) {
    if (operation.state === 'REQUESTED' && now() - operation.requestedAt < REQUEST_GRACE_MS) continue
    if (await hasWorkflow(client, operation)) continue
    // It may have ended between the two looks: the last write of a saga comes before its workflow closes.
    const again = await store.operations.get(operation.id)
    if (again === null || again.endedAt !== null) continue
    logger.warn({ app: operation.app, operation: operation.id }, 'operation lost its workflow; repairing')
    try {
      await client.workflow.start('repair', {
        workflowId: appWorkflowId(operation.app),
        taskQueue: TASK_QUEUE,
        args: [{ app: operation.app }],
        workflowIdConflictPolicy: 'FAIL',
        workflowTaskTimeout: '3s',
        staticSummary: `Repair ${operation.app}: ${operation.type} lost its workflow`,
      })
      repaired.push(operation.app)
    } catch (error) {
      // Somebody was quicker: another operation, which will be refused, or another repair.
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
    }
  }
  return repaired
}

async function hasWorkflow(client: Client, operation: Operation): Promise<boolean> {
  try {
    const { status } = await client.workflow.getHandle(appWorkflowId(operation.app)).describe()
    return status.name === 'RUNNING'
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false
    throw error
  }
}
