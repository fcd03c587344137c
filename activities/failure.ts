/** Errors of the table as failures of Temporal, in one function (house style 5). */
import { ApplicationFailure, CancelledFailure, CompleteAsyncError } from '@temporalio/activity'
import { asDiskFull } from '../domain/disk-full.ts'
import { CoppiceError } from '../domain/errors.ts'

/**
 * What an activity throws. Errors of the table carry their code as `type` and their details, so that a saga can tell
 * people what happened; they are retried only where the table says that this can help. Anything else is a defect or
 * the machine's trouble: it is retried as the activity's policy says.
 */
export function toFailure(error: unknown, signal?: AbortSignal): unknown {
  if (signal?.aborted)
    return signal.reason instanceof CancelledFailure ? signal.reason : new CancelledFailure('cancelled')
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure || error instanceof CompleteAsyncError)
    return error
  // A full disk is the machine's trouble and has a row of its own (R12.8).
  const known = error instanceof CoppiceError ? error : asDiskFull(error)
  if (known === null) return error
  return ApplicationFailure.create({
    message: known.message,
    type: known.code,
    nonRetryable: !known.row.retryable,
    details: [known.details],
    cause: error instanceof Error ? error : undefined,
  })
}
