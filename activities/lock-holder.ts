/** Who holds the lock of an app (DESIGN D1), as the worker sees it. */
import type { Context } from '@temporalio/activity'
import { WorkflowNotFoundError } from '@temporalio/common'
import { foreignLock, type LockHolder, type TemporalPlace, whyForeign } from '../domain/app-lock.ts'
import type { CoppiceError } from '../domain/errors.ts'
import { appWorkflowId } from '../domain/product.ts'
import type { Store } from '../store/store.ts'

/** @returns null when nobody does. */
export async function lockHolderOf(
  client: Pick<Context['client'], 'workflow'>,
  app: string,
): Promise<LockHolder | null> {
  try {
    const holder = await client.workflow.getHandle(appWorkflowId(app)).describe()
    return holder.status.name === 'RUNNING' ? holder : null
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return null
    throw error
  }
}

/** @returns what people are told when it is none of this platform's operations; null when it is one, or may be. */
export async function foreignLockOf(
  { operations, inventory }: Pick<Store, 'operations' | 'inventory'>,
  app: string,
  holder: LockHolder,
  place: TemporalPlace,
): Promise<CoppiceError | null> {
  const known = (await operations.ofRun(app, holder.runId)) !== null
  const why = whyForeign(holder, { inventory, known, now: Date.now() })
  return why === null ? null : foreignLock(app, holder, why, place)
}
