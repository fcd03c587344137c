import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import { CoppiceError, withHint } from '../../domain/errors.ts'
import { judgeOrigin, OWN_PAGES_ONLY, type RequestHeaders } from '../../domain/web-origin.ts'
import { STACK_ROWS } from '../stack-options.ts'

/**
 * The door to Temporal's UI (R13.7). The UI itself asks for nothing and looks at no Host, at any path and whatever
 * `--ui-public-path` says (tried with 1.5.1), so it stands on a port to which browsers make no connection, and this one
 * passes on what comes from its own pages. Nothing of a browser's is left of such a request when it reaches the UI.
 */
export type TemporalUi = { close(): Promise<void> }

const OWN = { names: new Set<string>(), namesOption: 'the address of the browser, which is 127.0.0.1 or localhost' }

/** No page may show it in a frame of its own and have people press its buttons. */
const ANSWER_HEADERS = { ...OWN_PAGES_ONLY, 'X-Frame-Options': 'DENY' }

/** Of one connection only (RFC 9110 7.6.1), or of a page's origin, which the UI has not to judge any more. */
const NOT_PASSED_ON =
  /^(connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|host|origin|referer|sec-fetch-.*|access-control-.*)$/

/** @throws CoppiceError InvalidInput when the port is taken */
export async function openTemporalUi(port: number, innerPort: () => number | null): Promise<TemporalUi> {
  const server = createServer((asked, answer) => {
    const refused = judgeOrigin(asked.headers, OWN)
    if (refused === null) passOn(asked, answer, innerPort())
    else tell(answer, refused.row.status, withHint(refused.code, refused.message))
  })
  await listen(server, port)
  return {
    close: () => {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

function passOn(asked: IncomingMessage, answer: ServerResponse, port: number | null): void {
  const away = () => {
    if (answer.headersSent) answer.destroy()
    else tell(answer, 502, 'The Temporal server does not answer at the moment.')
  }
  if (port === null) {
    away()
    return
  }
  const { method, url: path, headers } = asked
  const inner = request({ host: '127.0.0.1', port, method, path, headers: passedOn(headers) }, (said) => {
    for (const [name, value] of Object.entries({ ...passedOn(said.headers), ...ANSWER_HEADERS }))
      if (value !== undefined) answer.setHeader(name, value)
    answer.writeHead(said.statusCode ?? 502)
    said.pipe(answer).on('error', () => said.destroy())
    said.on('error', away)
  })
  inner.on('error', away)
  answer.on('close', () => inner.destroy())
  asked.pipe(inner)
}

const passedOn = (headers: RequestHeaders): RequestHeaders =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !NOT_PASSED_ON.test(name)))

function tell(answer: ServerResponse, status: number, words: string): void {
  answer.writeHead(status, { ...ANSWER_HEADERS, 'Content-Type': 'text/plain; charset=utf-8' }).end(`${words}\n`)
}

function listen(server: Server, port: number): Promise<void> {
  const { help, flag } = STACK_ROWS.uiPort
  return new Promise((resolve, reject) => {
    server.once('error', ({ message }) =>
      reject(new CoppiceError('InvalidInput', `${help}: ${message}. Choose another one: --${flag}`, { field: flag })),
    )
    server.listen(port, '127.0.0.1', resolve)
  })
}
