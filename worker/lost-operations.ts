/**
 * Notices operations that are open in the inventory but have no workflow any more (terminated, reset away, lost with
 * Temporal's database, never started because the control plane died) and starts a repair for each (R10.6).
 */
import { type Client, WorkflowExecutionAlreadyStartedError } from '@temporalio/client'
import { foreignLockOf, lockHolderOf } from '../activities/lock-holder.ts'
import { type LockHolder, lockMemo, type TemporalPlace } from '../domain/app-lock.ts'
import { appWorkflowId, TASK_QUEUE } from '../domain/product.ts'
import type { Operation } from '../domain/records.ts'
import { eachApart } from '../runtime/each-apart.ts'
import type { Store } from '../store/store.ts'
import type { Logger } from './logger.ts'

/** Between the API's record of an operation and the start of its workflow lie milliseconds. */
export const REQUEST_GRACE_MS = 10_000

export type LostOperationsDeps = {
  store: Pick<Store, 'inventory' | 'operations'>
  client: Pick<Client, 'workflow'>
  logger: Logger
  /** ms by a clock that never jumps. */
  elapsed: () => number
  /** When each operation without a workflow so far was seen first; kept from one look to the next. */
  requested: Map<string, number>
  /** Runs of foreign workflows that were told of; likewise. */
  told: Set<string>
  temporal: TemporalPlace
}

/**
 * @returns the apps for which a repair was started.
 * @throws the first thing that one of them failed by, when all had their turn
 */
export async function repairLostOperations(deps: LostOperationsDeps): Promise<string[]> {
  const { store, client, logger } = deps
  const repaired: string[] = []
  const open = await store.operations.open()
  for (const id of deps.requested.keys()) if (!open.some((operation) => operation.id === id)) deps.requested.delete(id)
  // Each by itself: one that cannot be looked at must not keep the others from their repair, for ever.
  await eachApart(open, async (operation) => {
    if (operation.state === 'REQUESTED' && !isOverdue(operation, deps)) return
    const holder = await lockHolderOf(client, operation.app)
    if (holder !== null && holder.runId !== operation.runId) await tellForeign(deps, operation, holder)
    if (holder !== null) return
    // It may have ended between the two looks: the last write of a saga comes before its workflow closes.
    const again = await store.operations.get(operation.id)
    if (again === null || again.endedAt !== null) return
    logger.warn({ app: operation.app, operation: operation.id }, 'operation lost its workflow; repairing')
    try {
      await client.workflow.start('repair', {
        workflowId: appWorkflowId(operation.app),
        taskQueue: TASK_QUEUE,
        args: [{ app: operation.app }],
        workflowIdConflictPolicy: 'FAIL',
        workflowTaskTimeout: '3s',
        staticSummary: `Repair ${operation.app}: ${operation.type} lost its workflow`,
        memo: lockMemo(store.inventory),
      })
      repaired.push(operation.app)
    } catch (error) {
      // Somebody was quicker: another operation, which will be refused, or another repair.
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
    }
  })
  return repaired
}

/** Counted from when this worker saw it first: when it was requested tells nothing if the clock has been set since. */
function isOverdue({ id }: Operation, { elapsed, requested }: LostOperationsDeps): boolean {
  const since = requested.get(id) ?? elapsed()
  requested.set(id, since)
  return elapsed() - since >= REQUEST_GRACE_MS
}

/** A foreign workflow on the id keeps the repair from being started, for as long as it runs. */
async function tellForeign(deps: LostOperationsDeps, { app, id }: Operation, holder: LockHolder): Promise<void> {
  const { store, logger, told, temporal } = deps
  const foreign = await foreignLockOf(store, app, holder, temporal)
  if (foreign === null || told.has(holder.runId)) return
  told.add(holder.runId)
  logger.error({ app, operation: id, error: foreign.message }, 'an operation lost its workflow and cannot be repaired')
}
