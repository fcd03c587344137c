/**
 * Ends an operation that lost its workflow: terminated, reset, or gone with Temporal's database (R10.6, DESIGN D5).
 * Past the pivot it goes forward, else back. The worker starts it; people may, too.
 */
import { CancellationScope, workflowInfo } from '@temporalio/workflow'
import { parseInput } from '../domain/inputs.ts'
import { appWorkflowId } from '../domain/product.ts'
import type { Operation, OperationFailure } from '../domain/records.ts'
import { launch } from './launcher.ts'
import { answering, operationIdOfRun } from './operation.ts'
import { Progress } from './progress.ts'
import { abandon, takeOver } from './proxies.ts'
import { complete, type OperationResult, removeInstance } from './roll-out.ts'
import { Saga } from './saga.ts'

export function repair(raw: unknown): Promise<OperationResult> {
  return answering(async () => {
    const { app } = parseInput('repair', raw)
    const { workflowId, runId } = workflowInfo()
    if (workflowId !== appWorkflowId(app)) return launch(app, raw)
    const owner = operationIdOfRun()
    // A repair is never undone itself; a cancel of it changes nothing.
    return CancellationScope.nonCancellable(async () => {
      const found = await takeOver({ id: owner, app, workflowId, runId })
      if (found === null) return { app, operation: owner, result: 'nothing to repair', deployment: null, instances: [] }
      const { lost, version } = found
      if (lost.phase === 'committed' && lost.plan !== null)
        await complete(lost.plan, { version, owner }, new Progress())
      else await goBack(lost, owner)
      return { app, operation: owner, result: 'done', deployment: lost.deployment, instances: [] }
    })
  })
}

async function goBack(lost: Operation, owner: string): Promise<void> {
  const saga = new Saga()
  for (const { id } of lost.plan?.add ?? [])
    saga.register(`remove instance ${id}`, () => removeInstance(lost.id, owner, id))
  const undoFailures = await new Progress().step('Undo the lost operation', () => saga.compensate())
  const failure: OperationFailure = {
    code: 'Terminated',
    message: `The ${lost.type} was ended from outside before its pivot; the app is as it was before`,
    ...(undoFailures.length > 0 && { undoFailures }),
  }
  await abandon(lost.id, { state: 'FAILED', failure }, owner)
}
