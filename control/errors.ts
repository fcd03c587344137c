/** What goes wrong, as HTTP: the one place where rows of the error table become answers (house style 5). */
import type { ErrorRequestHandler, RequestHandler } from 'express'
import type { Logger } from 'pino'
import { asDiskFull } from '../domain/disk-full.ts'
import { CoppiceError, type ErrorCode, withHint } from '../domain/errors.ts'
import { PRODUCT } from '../domain/product.ts'

export type ErrorBody = {
  error_code: string
  message: string
  /** Ours, beside the product's two: what a program needs that wants to tell more than the message. */
  coppice: {
    code: ErrorCode
    message: string
    hint: string
    retryable: boolean
    field?: string
    details?: Record<string, unknown>
  }
}

export function errorAnswer(error: unknown): { status: number; body: ErrorBody } {
  const known = asCoppiceError(error)
  const { status, apiCode, hint, retryable } = known.row
  const { field, ...details } = known.details
  return {
    status,
    body: {
      error_code: apiCode,
      message: withHint(known.code, known.message),
      coppice: {
        code: known.code,
        message: known.message,
        hint,
        retryable,
        ...(field !== undefined && { field }),
        ...(Object.keys(details).length > 0 && { details }),
      },
    },
  }
}

function asCoppiceError(error: unknown): CoppiceError {
  if (error instanceof CoppiceError) return error
  const full = asDiskFull(error)
  if (full !== null) return full
  if (error instanceof URIError) return new CoppiceError('InvalidInput', `path: ${error.message}`, { field: '(path)' })
  // Express's router and body parser throw errors with a status: they are about the request, never about us.
  const { status, type, message } = error as { status?: unknown; type?: unknown; message?: string }
  if (typeof status === 'number' && status >= 400 && status < 500)
    return new CoppiceError('InvalidInput', `body: ${BODY_REASONS[String(type)] ?? message ?? 'cannot be read'}`, {
      field: '(body)',
    })
  return new CoppiceError('Internal', `The ${PRODUCT} control plane failed to answer`, {}, { cause: error })
}

/** `type` of body-parser's errors. */
const BODY_REASONS: Record<string, string> = {
  'entity.parse.failed': 'is not valid JSON',
  'entity.too.large': 'is larger than 1 MiB',
  'encoding.unsupported': 'has a Content-Encoding that is not understood',
  'charset.unsupported': 'has a charset that is not understood; send UTF-8',
  'request.aborted': 'ended before its announced length',
}

export const noSuchPath: RequestHandler = (request, _response, next) => {
  next(new CoppiceError('NoSuchEndpoint', `There is no ${request.method} ${request.path}`))
}

/** The last of the chain. Four parameters are how Express knows it. */
export function answerErrors(log: Logger): ErrorRequestHandler {
  return (error, request, response, _next) => {
    const { status, body } = errorAnswer(error)
    if (body.coppice.code === 'Internal')
      log.error({ err: error, method: request.method, path: request.path }, 'a request failed')
    // A stream that has begun cannot become an error any more.
    if (response.headersSent) return void response.destroy()
    response.status(status).json(body)
  }
}
