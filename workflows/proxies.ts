/**
 * How sagas call activities (DESIGN D3, D14).
 *
 * Transactions of the inventory run as local activities: they are idempotent, take milliseconds and need no second
 * trip to the server. Everything else is a normal activity with a heartbeat, so that the death of its worker is noticed
 * within `HEARTBEAT` and the step goes on elsewhere well within the 10 s of R12.5.
 */
import {
  ActivityCancellationType,
  type ActivityOptions,
  proxyActivities,
  proxyLocalActivities,
} from '@temporalio/workflow'
import type { Activities } from '../activities/activities.ts'

const HEARTBEAT = '4 seconds'

/** Unknown errors are tried again a few times: before the pivot an undo is the better end, after it there is none. */
const BEFORE_PIVOT = { initialInterval: '200ms', maximumInterval: '5s', maximumAttempts: 6 } as const
const UNTIL_DONE = { initialInterval: '200ms', maximumInterval: '10s' } as const

const inventory = proxyLocalActivities<Activities>({
  startToCloseTimeout: '15s',
  // A local activity that is retried for longer becomes a timer, which survives the worker.
  localRetryThreshold: '10s',
  retry: UNTIL_DONE,
})

/** The transactions; they throw only what the error table calls final. */
export const { admit, refuse, commit, finish, abandon, takeOver, lockHolder } = inventory

const common: ActivityOptions = {
  heartbeatTimeout: HEARTBEAT,
  // The default does not wait for the activity to end (reference: TRY_CANCEL), and an undo would race with it.
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}

export const beforePivot = proxyActivities<Activities>({ ...common, startToCloseTimeout: '30m', retry: BEFORE_PIVOT })
export const afterPivot = proxyActivities<Activities>({ ...common, startToCloseTimeout: '1h', retry: UNTIL_DONE })
/** What cannot be undone within this time is told in the failure and left to the reconciler. */
export const undoing = proxyActivities<Activities>({
  ...common,
  startToCloseTimeout: '2m',
  scheduleToCloseTimeout: '5m',
  retry: UNTIL_DONE,
})
