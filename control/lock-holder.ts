/** Who holds the lock of an app (DESIGN D1), and whether that is an operation of this platform. */
import { WorkflowNotFoundError } from '@temporalio/client'
import { foreignLock, type LockHolder, whyForeign } from '../domain/app-lock.ts'
import type { CoppiceError } from '../domain/errors.ts'
import { APP_WORKFLOWS, appWorkflowId } from '../domain/product.ts'
import type { Operation } from '../domain/records.ts'
import type { Store } from '../store/store.ts'
import type { Temporal } from './temporal.ts'

export type LockDeps = { store: Store; temporal: Temporal; now: () => number }

export type HeldLock = {
  holder: LockHolder
  /** Its operation; null when the inventory knows none of this run. */
  operation: Operation | null
  /** Why it is none of this platform's; null when it is one, or may be. */
  why: string | null
}

/** @returns null when nobody holds it. */
export async function lookAtLock(deps: LockDeps, app: string): Promise<HeldLock | null> {
  try {
    const holder = await deps.temporal.client.workflow.getHandle(appWorkflowId(app)).describe()
    return holder.status.name === 'RUNNING' ? await judge(deps, app, holder) : null
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return null
    throw error
  }
}

export const refusal = (app: string, { holder, why }: HeldLock, temporal: Temporal): CoppiceError | null =>
  why === null ? null : foreignLock(app, holder, why, temporal)

const RUNNING_LOCKS = `WorkflowId STARTS_WITH "${APP_WORKFLOWS}" AND ExecutionStatus = "Running"`

/** Foreign ones on apps that are here, and those that the worker of this platform would get. */
export async function foreignLocks(deps: LockDeps, queue: string): Promise<HeldLock[]> {
  const found: HeldLock[] = []
  for await (const holder of deps.temporal.client.workflow.list({ query: RUNNING_LOCKS })) {
    const app = holder.workflowId.slice(APP_WORKFLOWS.length)
    // What others call their workflows on their queues is theirs, as long as no app here wants the id.
    if (holder.taskQueue !== queue && (await deps.store.apps.get(app)) === null) continue
    const lock = await judge(deps, app, holder)
    if (lock.why !== null) found.push(lock)
  }
  return found
}

async function judge({ store, now }: LockDeps, app: string, holder: LockHolder): Promise<HeldLock> {
  const operation = await store.operations.ofRun(app, holder.runId)
  const facts = { inventory: store.inventory, known: operation !== null, now: now() }
  return { holder, operation, why: whyForeign(holder, facts) }
}
