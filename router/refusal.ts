/**
 * Every answer that the router gives itself. `reason` is what clients, logs and metrics see; the header
 * `X-Coppice-Router` carries it, and only the router's own answers have that header.
 */
import { HOSTS_OPTION } from './options.ts'

export type Refusal = {
  readonly status: number
  readonly reason: RefusalReason
  readonly message: string
  /** Seconds; for clients that may try again. */
  readonly retryAfter?: number
  /** The connection is closed after the answer: its framing cannot be trusted, or a body lies unread on it. */
  readonly close?: boolean
}

export type RefusalReason =
  | 'BadRequest'
  | 'UriTooLong'
  | 'HeadersTooLarge'
  | 'BodyTooLarge'
  | 'MethodNotAllowed'
  | 'RequestTimeout'
  | 'NoRouteTable'
  | 'NoSuchApp'
  | 'ForeignHost'
  | 'AppStarting'
  | 'AppStopped'
  | 'AppHeld'
  | 'NoHealthyInstance'
  | 'TooManyWaiting'
  | 'UpstreamFailed'
  | 'UpstreamTimeout'
  | 'RouterDefect'
  | 'RouterOverloaded'
  | 'RouterStopping'

export const OWN_ANSWER_HEADER = 'X-Coppice-Router'

/** A request that is malformed: answered, closed, never forwarded (R13.1). */
export const badRequest = (message: string): Refusal => ({ status: 400, reason: 'BadRequest', message, close: true })

const refusal = (status: number, reason: RefusalReason, message: string, more: Partial<Refusal> = {}): Refusal => ({
  status,
  reason,
  message,
  ...more,
})

export const REFUSALS = {
  uriTooLong: refusal(414, 'UriTooLong', 'The address is too long.', { close: true }),
  headersTooLarge: refusal(431, 'HeadersTooLarge', 'The request has too many or too large headers.', { close: true }),
  bodyTooLarge: refusal(413, 'BodyTooLarge', 'The body of the request is larger than this router allows.', {
    close: true,
  }),
  connect: refusal(405, 'MethodNotAllowed', 'CONNECT is not offered here.', { close: true }),
  requestTimeout: refusal(408, 'RequestTimeout', 'The request did not arrive in time.', { close: true }),
  noTable: refusal(503, 'NoRouteTable', 'The router has no route table yet.', { retryAfter: 2 }),
  noSuchApp: refusal(404, 'NoSuchApp', 'There is no app at this address.'),
  foreignHost: refusal(421, 'ForeignHost', `This port is not reached by that name; add it to ${HOSTS_OPTION}.`),
  starting: refusal(503, 'AppStarting', 'The app is starting.', { retryAfter: 2 }),
  stopped: refusal(503, 'AppStopped', 'The app is stopped.', { retryAfter: 30 }),
  held: refusal(503, 'AppHeld', 'The traffic of the app is held back for the moment.', { retryAfter: 5 }),
  noInstance: refusal(503, 'NoHealthyInstance', 'No instance of the app is available.', { retryAfter: 2 }),
  tooManyWaiting: refusal(503, 'TooManyWaiting', 'Too many requests are waiting for this app.', { retryAfter: 2 }),
  upstreamFailed: refusal(502, 'UpstreamFailed', 'The instance ended the connection before it answered.'),
  upstreamUnusable: refusal(502, 'UpstreamFailed', 'The answer of the instance is not one that HTTP/1.1 allows.'),
  upstreamTimeout: refusal(504, 'UpstreamTimeout', 'The instance did not answer in time.'),
  defect: refusal(502, 'RouterDefect', 'The router failed at this request; its log says how.', { close: true }),
  overloaded: refusal(503, 'RouterOverloaded', 'The router is out of connections.', { retryAfter: 2 }),
  stopping: refusal(503, 'RouterStopping', 'The router is stopping.', { retryAfter: 1, close: true }),
} as const satisfies Record<string, Refusal>

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)

/**
 * The body: a page for people, JSON in the shape of the API for everything else.
 * @param accept the Accept header of the request
 */
export function refusalBody(what: Refusal, accept: string | null, requestId: string): { type: string; body: string } {
  if (accept?.includes('text/html')) {
    const again = what.retryAfter === undefined ? '' : `<meta http-equiv="refresh" content="${what.retryAfter}">`
    return {
      type: 'text/html; charset=utf-8',
      body: `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">${again}<title>${escapeHtml(what.message)}</title><style>:root{color-scheme:light dark}body{font:1rem/1.6 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1.5rem}h1{font-size:1.4rem}small{opacity:.7}</style><h1>${escapeHtml(what.message)}</h1><p>${what.retryAfter === undefined ? 'Check the address.' : 'This page tries again by itself.'}</p><small>${what.status} ${what.reason} · ${escapeHtml(requestId)}</small></html>\n`,
    }
  }
  return {
    type: 'application/json',
    body: `${JSON.stringify({ error_code: what.reason, message: what.message, request_id: requestId })}\n`,
  }
}
