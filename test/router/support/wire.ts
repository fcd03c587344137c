/** Requests and answers as they are on the wire, for tests that write whole connections. */

export const HOST = 'Host: app.localhost\r\n'

/** The head of a request, with the blank line behind it; `more` are whole lines. */
export const head = (method: string, path: string, more = ''): string =>
  `${method} ${path} HTTP/1.1\r\n${HOST}${more}\r\n`

export const get = (path: string, more = ''): string => head('GET', path, more)

/** The lines by which a client asks for a WebSocket. */
export const WEBSOCKET =
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'

/** Of all answers, in order. */
export const statuses = (text: string): number[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => Number(match[1]))

/** What the test origin says that it was asked for, in order. */
export const urls = (text: string): string[] =>
  [...text.matchAll(/"url":"([^"]+)"/g)].map((match) => match[1] as string)
