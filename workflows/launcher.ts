/**
 * The way in for people with nothing but the `temporal` CLI (DESIGN D1): a workflow that was started under any id other
 * than its app's runs itself as the child `app/<name>`, whose uniqueness is the lock.
 */
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common'
import {
  ChildWorkflowCancellationType,
  executeChild,
  ParentClosePolicy,
  patched,
  sleep,
  workflowInfo,
} from '@temporalio/workflow'
import { CoppiceError } from '../domain/errors.ts'
import { APP_WORKFLOWS, appWorkflowId } from '../domain/product.ts'
import { lockHolder } from './proxies.ts'
import type { OperationResult } from './roll-out.ts'

/** How long a lock whose operation has ended may take to be let go: the last step of a workflow after its last write. */
const CLOSING_MS = 5_000
const LOOK_AGAIN_MS = 100

export async function launch(app: string, input: unknown): Promise<OperationResult> {
  const { workflowId } = workflowInfo()
  // It would hold the lock of an app that it does nothing to, for as long as the operation on the other one lasts.
  if (workflowId.startsWith(APP_WORKFLOWS) && patched('locks-of-other-apps'))
    throw new CoppiceError(
      'InvalidInput',
      `app: a workflow with the id ${workflowId} keeps others from that app, and this one is to change ${app}. Leave the id out, or use ${appWorkflowId(app)}`,
      { field: 'app' },
    )
  for (let waited = 0; ; waited += LOOK_AGAIN_MS) {
    try {
      return await executeChild<(input: unknown) => Promise<OperationResult>>(workflowInfo().workflowType, {
        workflowId: appWorkflowId(app),
        args: [input],
        // Cancelling or ending the launcher asks the operation to undo itself, and the launcher waits for that.
        parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
        cancellationType: ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
        workflowTaskTimeout: '3s',
      })
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
      const { words, ended } = await lockHolder(app)
      if (!ended || waited >= CLOSING_MS)
        throw new CoppiceError('OperationInProgress', `Cannot change app ${app}: ${words}`)
      await sleep(LOOK_AGAIN_MS)
    }
  }
}
