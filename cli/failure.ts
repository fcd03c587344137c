/** What goes wrong, for people at a terminal: lines and an exit code, both from one function (house style 5). */
import { CommanderError } from 'commander'
import { asDiskFull } from '../domain/disk-full.ts'
import { CoppiceError, ERRORS, type ErrorCode } from '../domain/errors.ts'
import type { FailureAnswer } from './api.ts'

/** Documented in `coppice --help`; scripts rely on them. */
export const EXIT = {
  ok: 0,
  /** An operation failed or was cancelled, or the platform made a mistake. */
  failed: 1,
  /** The command line, a file or a field is wrong; nothing was done. */
  usage: 2,
  /** The platform, or a part of it that this needs, does not answer. */
  unreachable: 3,
  /** The platform refused: no such app, another operation runs, a limit, the wrong state, no right. */
  refused: 4,
  /** Ctrl-C; what was started goes on. */
  interrupted: 130,
} as const

/** An answer of the API that is not a success. */
export class ApiError extends Error {
  readonly status: number
  readonly code: ErrorCode
  readonly hint: string
  readonly field: string | undefined

  constructor(status: number, code: ErrorCode, message: string, hint: string, field?: string) {
    super(message)
    this.name = 'ApiError'
    this.status = status
    this.code = code
    this.hint = hint
    this.field = field
  }
}

/** Nobody answers at the address of the API. */
export class Unreachable extends Error {
  readonly hint: string

  constructor(message: string, hint: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'Unreachable'
    this.hint = hint
  }
}

/** An operation that was waited for and did not succeed. */
export class OperationFailed extends Error {
  readonly operation: { id: string; app: string; type: string; state: string }
  readonly failure: FailureAnswer | null

  constructor(operation: OperationFailed['operation'], failure: FailureAnswer | null) {
    super(failure?.message ?? `${operation.type} of ${operation.app} ended as ${operation.state}`)
    this.name = 'OperationFailed'
    this.operation = operation
    this.failure = failure
  }
}

export type Told = { exitCode: number; lines: string[]; json: Record<string, unknown> }

export function tellFailure(error: unknown): Told {
  if (error instanceof CommanderError)
    // Commander has printed the reason itself; its success is the help that was asked for.
    return told(error.exitCode === 0 ? EXIT.ok : EXIT.usage, error.message, null)
  if (error instanceof OperationFailed) return tellOperation(error)
  if (error instanceof Unreachable) return told(EXIT.unreachable, error.message, error.hint)
  if (error instanceof ApiError)
    return told(exitCodeOf(error), error.message, error.hint, {
      code: error.code,
      field: error.field,
      status: error.status,
    })
  const known = error instanceof CoppiceError ? error : asDiskFull(error)
  if (known !== null)
    return told(exitCodeOf({ code: known.code, status: known.row.status }), known.message, known.row.hint, {
      code: known.code,
      field: known.details.field,
    })
  return told(EXIT.failed, String((error as Error).stack ?? error), ERRORS.Internal.hint, { code: 'Internal' })
}

function exitCodeOf({ code, status }: { code: ErrorCode; status: number }): number {
  if (code === 'LimitExceeded' || code === 'InvalidState') return EXIT.refused
  if (status === 400) return EXIT.usage
  if (status === 503) return EXIT.unreachable
  return status < 500 ? EXIT.refused : EXIT.failed
}

function told(exitCode: number, message: string, hint: string | null, more: Record<string, unknown> = {}): Told {
  return {
    exitCode,
    lines: [sentence(message), ...(hint === null ? [] : [hint])],
    json: { error: { message, ...(hint !== null && { hint }), ...more } },
  }
}

/** R9.3: the step, the cause, what the app said last, what to do. */
function tellOperation({ operation, failure }: OperationFailed): Told {
  const { id, app, type, state } = operation
  const json = { operation: id, app, type, state, failure }
  if (state === 'CANCELLED')
    return { exitCode: EXIT.failed, lines: [`The ${type} of ${app} was cancelled; everything is as before.`], json }
  const hint = failure === null ? '' : ERRORS[failure.code].hint
  // The message carries the hint; it reads better after the log lines, to which it often points.
  const message = failure?.message ?? 'The cause is not known'
  const cause = sentence(message.endsWith(hint) ? message.slice(0, message.length - hint.length).trim() : message)
  return {
    exitCode: EXIT.failed,
    json,
    lines: [
      `The ${type} of ${app} failed${failure?.step === undefined ? '' : ` at the step "${failure.step}"`}.`,
      cause,
      ...(failure?.log_lines?.length ? ['Its last log lines:', ...failure.log_lines.map((line) => `  | ${line}`)] : []),
      ...(failure?.undo_failures?.length
        ? [
            'What could not be taken back yet (the worker goes on trying):',
            ...failure.undo_failures.map((line) => `  - ${line}`),
          ]
        : ['The app is as it was before.']),
      ...(hint === '' ? [] : [hint]),
      `All steps: coppice operations get ${id}`,
    ],
  }
}

const sentence = (text: string): string => (/[.!?:\n]$/.test(text) ? text : `${text}.`)
