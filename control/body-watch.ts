/**
 * Nobody waits without end for a body. One of which no byte comes for too long is given up, and one that is no upload
 * has to be there as a whole within the same time. An upload may take as long as it takes, while something of it comes:
 * Node's own limit for a whole request would end a large source on a slow line.
 *
 * Whoever is answered before all of the body has come, because it is refused, has that time for the rest.
 */
import type { Request, RequestHandler, Response } from 'express'
import { CoppiceError } from '../domain/errors.ts'
import { errorAnswer } from './errors.ts'

export type BodyWatchOptions = {
  /** Default 60,000. */
  stallMs: number
  isUpload: (request: Request) => boolean
}

/** How much later than `stallMs` it may be noticed, as a part of that. */
const LOOKS = 10
/** Within which a client has to take the answer, in ms. */
const ANSWER_MS = 5_000
/** How long one that still sends may go on, so that it finds the answer behind what it sends, in ms. */
const LINGER_MS = 1_000

/** Before whatever else may answer or read. */
export function watchBodies({ stallMs, isUpload }: BodyWatchOptions): RequestHandler {
  return (request, response, next) => {
    const { 'content-length': length = '0', 'transfer-encoding': encoding } = request.headers
    if (encoding !== undefined || Number(length) > 0) watchBody(request, response, stallMs, isUpload(request))
    next()
  }
}

function watchBody(request: Request, response: Response, stallMs: number, upload: boolean): void {
  const { socket } = request
  const seconds = `${stallMs / 1_000} s`
  let bytes = socket.bytesRead
  let heardAt = performance.now()
  let dueFrom = upload ? null : heardAt
  response.once('finish', () => {
    dueFrom ??= performance.now()
  })
  const timer = setInterval(() => {
    const now = performance.now()
    // What has come and is not taken is no silence of the client.
    if (socket.bytesRead !== bytes || request.readableLength > 0) {
      bytes = socket.bytesRead
      heardAt = now
    }
    if (request.complete) clearInterval(timer)
    else if (now - heardAt >= stallMs) end(`no byte of it has come for ${seconds}`, 0)
    else if (dueFrom !== null && now - dueFrom >= stallMs)
      end(`it has not come as a whole within ${seconds}`, LINGER_MS)
  }, stallMs / LOOKS)
  request.once('close', () => clearInterval(timer))

  const end = (reason: string, lingerMs: number) => {
    clearInterval(timer)
    giveUp(request, response, new CoppiceError('BodyTimedOut', `The body was given up: ${reason}`), lingerMs)
  }
}

/**
 * Whoever reads the body hears of it after the client: without its connection that could not be answered. Closed at once,
 * the connection would answer what the client still sends with a reset, and most clients then lose the answer (RFC 9112
 * 9.6).
 *
 * @param lingerMs how long the connection stays open behind the answer
 */
function giveUp(request: Request, response: Response, error: CoppiceError, lingerMs: number): void {
  const destroy = () => {
    request.destroy(error)
  }
  if (response.headersSent) {
    destroy()
    return
  }
  let late = setTimeout(destroy, ANSWER_MS)
  response.once('close', () => clearTimeout(late))
  // Whoever has sent all of it in the end is sent no reset.
  request.once('end', () => response.end())
  const answer = errorAnswer(error)
  const text = JSON.stringify(answer.body)
  response
    .status(answer.status)
    .set({ Connection: 'close', 'Content-Type': 'application/json; charset=utf-8' })
    .set('Content-Length', String(Buffer.byteLength(text)))
  // All of it, and not its end: with that the connection ends too.
  response.write(text, () => {
    clearTimeout(late)
    late = setTimeout(destroy, lingerMs)
  })
}
