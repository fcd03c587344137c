/** Errors of the table as failures of Temporal, in one function (house style 5). */
import { ApplicationFailure, CancelledFailure, CompleteAsyncError } from '@temporalio/activity'
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
  const known = error instanceof CoppiceError ? error : fromSystem(error)
  if (known === null) return error
  return ApplicationFailure.create({
    message: known.message,
    type: known.code,
    nonRetryable: !known.row.retryable,
    details: [known.details],
    cause: error instanceof Error ? error : undefined,
  })
}

/** Troubles of the machine that have a row of their own (R12.8). */
function fromSystem(error: unknown): CoppiceError | null {
  const code = (error as NodeJS.ErrnoException | null)?.code
  const text = error instanceof Error ? error.message : String(error)
  if (code === 'ENOSPC' || code === 'EDQUOT' || /database or disk is full/.test(text))
    return new CoppiceError('DiskFull', `The disk is full: ${text}`, {}, { cause: error })
  return null
}
