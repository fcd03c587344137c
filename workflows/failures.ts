/**
 * Failures as sagas see and throw them. Only ApplicationFailures typed by the error table may leave a workflow: a plain
 * Error fails the workflow *task*, which is retried for ever while the workflow looks as if it ran.
 */
import {
  ActivityFailure,
  ApplicationFailure,
  CancelledFailure,
  ChildWorkflowFailure,
  TimeoutFailure,
} from '@temporalio/workflow'
import { CoppiceError, type ErrorDetails, isErrorCode, withHint } from '../domain/errors.ts'
import type { OperationFailure } from '../domain/records.ts'

/** What people are told of an operation that somebody has cancelled in time. */
export const CANCELLED = { code: 'Cancelled', message: 'The operation was cancelled before its pivot' } as const

/** What people are told about `error`, which ended the step `step`. */
export function describeFailure(error: unknown, step?: string): OperationFailure {
  const cause = innermost(error)
  const base = step === undefined ? {} : { step }
  if (cause instanceof CoppiceError)
    return { ...base, ...fromDetails(cause.details), code: cause.code, message: cause.message }
  if (cause instanceof ApplicationFailure && isErrorCode(cause.type)) {
    const details = (cause.details?.[0] ?? {}) as ErrorDetails
    return { ...base, ...fromDetails(details), code: cause.type, message: cause.message }
  }
  const words = cause instanceof Error ? cause.message : String(cause)
  const timedOut = cause instanceof TimeoutFailure ? `It took too long (${cause.timeoutType})` : words
  return { ...base, code: 'Internal', message: timedOut }
}

/** The failure that ends a workflow. */
export function toWorkflowFailure(failure: OperationFailure): ApplicationFailure {
  const where = failure.step === undefined ? '' : `Step "${failure.step}": `
  return ApplicationFailure.create({
    message: where + withHint(failure.code, failure.message),
    type: failure.code,
    nonRetryable: true,
    details: [failure],
  })
}

function fromDetails(details: ErrorDetails): Partial<OperationFailure> {
  return {
    ...(details.field !== undefined && { field: details.field }),
    ...(details.logLines !== undefined && { logLines: details.logLines }),
  }
}

function innermost(error: unknown): unknown {
  if (error instanceof ActivityFailure || error instanceof ChildWorkflowFailure)
    return error.cause === undefined || error.cause instanceof CancelledFailure ? error : innermost(error.cause)
  return error
}
