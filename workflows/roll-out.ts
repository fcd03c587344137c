/**
 * The one transition (DESIGN D2, D3): takes an app from the instances it has to those its plan says.
 *
 *   compensable:  snapshot → build → build instance healthy → the others healthy, beside the old ones
 *   pivot:        one transaction: deployment, instances, next route table
 *   retriable:    publish → drain → stop → finish
 *
 * Before the pivot steps only add, so the undo only removes; after it nothing is undone and everything is retried until
 * it is done. A cancel before the pivot undoes; one that comes later is too late, and the operation completes.
 */
import { CancellationScope, CancelledFailure } from '@temporalio/workflow'
import type { Plan, PlannedInstance } from '../domain/plan.ts'
import type { OperationFailure } from '../domain/records.ts'
import { CANCELLED, describeFailure, toWorkflowFailure } from './failures.ts'
import { Progress } from './progress.ts'
import { abandon, afterPivot, beforePivot, commit, finish, undoing } from './proxies.ts'
import { Saga } from './saga.ts'

export type OperationResult = {
  app: string
  operation: string
  result: 'done' | 'nothing to repair'
  deployment: string | null
  instances: string[]
}

export async function rollOut(plan: Plan): Promise<OperationResult> {
  const progress = new Progress()
  const saga = new Saga()
  let version: number
  try {
    await prepare(plan, saga, progress)
    version = await pivot(plan, progress)
  } catch (error) {
    // Read from the scope, not from the error: a cancel while the worker is dead arrives as a heartbeat timeout.
    const cancelled = CancellationScope.current().consideredCancelled
    throw await undo(plan, saga, cancelled, describeFailure(error, progress.current))
  }
  await CancellationScope.nonCancellable(() => complete(plan, { version, owner: plan.operation }, progress))
  return resultOf(plan)
}

/** Everything that can be undone. */
async function prepare(plan: Plan, saga: Saga, progress: Progress): Promise<void> {
  if (plan.build) {
    const { source } = await progress.step('Take a snapshot of the source', () =>
      beforePivot.snapshotSource.executeWithOptions({ summary: `source of ${plan.app}` }, [plan]),
    )
    await progress.step('Build the artifact', () =>
      beforePivot.buildArtifact.executeWithOptions({ summary: `artifact of ${plan.app}` }, [plan, source]),
    )
  }
  const [first, ...others] = plan.add
  if (first === undefined) return
  const start = (instance: PlannedInstance, words: string) => {
    saga.register(`remove instance ${instance.id}`, () => removeInstance(plan.operation, plan.operation, instance.id))
    return progress.step(words, () =>
      beforePivot.startInstance.executeWithOptions({ summary: instance.id }, [plan.operation, instance, words]),
    )
  }
  await start(first, plan.build ? 'Start the build instance and await its health check' : startWords(first))
  await allOrCancel(others.map((instance) => () => start(instance, startWords(instance))))
}

const startWords = (instance: PlannedInstance): string => `Start the instance in slot ${instance.slot}`

/** Runs all at once; the first failure cancels the rest, and all have ended when it is thrown. */
async function allOrCancel(works: Array<() => Promise<unknown>>): Promise<void> {
  const scope = new CancellationScope()
  let first: { error: unknown } | null = null
  await scope.run(() =>
    Promise.all(
      works.map((work) =>
        work().catch((error: unknown) => {
          first ??= { error }
          scope.cancel()
        }),
      ),
    ),
  )
  if (first !== null) throw (first as { error: unknown }).error
}

async function pivot(plan: Plan, progress: Progress): Promise<number> {
  if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('cancelled before the pivot')
  return CancellationScope.nonCancellable(() =>
    progress.step('Switch over', async () => (await commit.executeWithOptions({ summary: 'pivot' }, [plan])).version),
  )
}

/** Everything that is retried until it is done. */
export async function complete(
  plan: Plan,
  { version, owner }: { version: number; owner: string },
  progress: Progress,
): Promise<void> {
  await progress.step('Publish the routes and await every router', () =>
    afterPivot.publishRoutes.executeWithOptions({ summary: `table ${version}` }, [owner, version]),
  )
  await Promise.all(
    plan.remove.map((instance) =>
      progress.step(`Drain and stop the instance in slot ${instance.slot}`, async () => {
        const drain = { version, timeoutMs: plan.drainTimeoutMs }
        await afterPivot.drainInstance.executeWithOptions({ summary: instance.id }, [owner, instance, drain])
        await afterPivot.stopInstance.executeWithOptions({ summary: instance.id }, [owner, instance])
      }),
    ),
  )
  await progress.step('Finish', () => finish(plan, owner))
}

export const removeInstance = (operation: string, owner: string, id: string): Promise<void> =>
  undoing.removeInstance.executeWithOptions({ summary: `undo ${id}` }, [operation, owner, id])

async function undo(plan: Plan, saga: Saga, cancelled: boolean, failure: OperationFailure): Promise<Error> {
  return CancellationScope.nonCancellable(async () => {
    const undoFailures = await saga.compensate()
    const shown: OperationFailure = {
      ...(cancelled ? CANCELLED : failure),
      ...(failure.step !== undefined && { step: failure.step }),
      ...(undoFailures.length > 0 && { undoFailures }),
    }
    await abandon(plan.operation, { state: cancelled ? 'CANCELLED' : 'FAILED', failure: shown }, plan.operation)
    return cancelled ? new CancelledFailure(shown.message, [shown]) : toWorkflowFailure(shown)
  })
}

const resultOf = (plan: Plan): OperationResult => ({
  app: plan.app,
  operation: plan.operation,
  result: 'done',
  deployment: plan.deployment,
  instances: [...plan.keep, ...plan.add].map((instance) => instance.id),
})
