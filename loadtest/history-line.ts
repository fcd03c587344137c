/**
 * The client-side history: one short line an attempt, written by the k6 scripts (k6's own JSON is 13 lines and 3.1 kB
 * a request) and read by the runner. No imports, so that both can load it.
 */

/** Who asks: a browser with a cookie jar, a client with a cookie or a routing header of its own choice, a WebSocket. */
export type ClientKind = 'browser' | 'cookie' | 'header' | 'socket'

export type Attempt = {
  /** Unix ms. */
  startedAt: number
  /** Unix ms; when the answer was complete, or the attempt had failed. */
  endedAt: number
  kind: ClientKind
  /** One user, from the first request to the last of a session. */
  client: string
  /** The routing key that was sent, or null. */
  key: string | null
  /** The routing key that came with the answer, or null. */
  newKey: string | null
  method: string
  /** Sent with a body, so that a router cannot send it again. */
  body: boolean
  /** 0 when there was no answer. */
  status: number
  instance: string | null
  slot: number | null
  version: string | null
  /** Unique; in the path of the request, so that the logs of router and app have it. */
  id: string
  /** Which of the URLs. */
  router: number
  error: string | null
  /** A stream of events, or a WebSocket: once it has begun, nobody can have the rest of it elsewhere. */
  stream: boolean
  /** Why a router of ours answered itself (`X-Coppice-Router`); null where the app did, or nobody. */
  refusal: string | null
}

const METHODS_THAT_REPEAT = ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']

/** Whether a router may send it a second time when the first got no answer (DESIGN D10). */
export const isRepeatable = (attempt: Pick<Attempt, 'method' | 'body'>): boolean =>
  !attempt.body && METHODS_THAT_REPEAT.includes(attempt.method)

/** `-` for nothing, `%` for an empty text. */
const text = (value: string | number | null): string =>
  value === null ? '-' : value === '-' ? '%2D' : encodeURIComponent(value) || '%'
const orNull = (field: string): string | null => (field === '-' ? null : field === '%' ? '' : decodeURIComponent(field))

export function formatAttempt(attempt: Attempt): string {
  return [
    'h',
    attempt.startedAt,
    attempt.endedAt - attempt.startedAt,
    attempt.kind,
    text(attempt.client),
    text(attempt.key),
    // Most answers repeat nothing; a key that came back unchanged is told as such.
    attempt.newKey !== null && attempt.newKey === attempt.key ? '=' : text(attempt.newKey),
    attempt.method,
    attempt.body ? 1 : 0,
    attempt.status,
    text(attempt.instance),
    text(attempt.slot),
    text(attempt.version),
    attempt.id,
    attempt.router,
    text(attempt.error),
    attempt.stream ? 1 : 0,
    text(attempt.refusal),
  ].join(' ')
}

/** Null for a line that is none, e.g. one that was cut off when k6 was killed. */
export function parseAttempt(line: string): Attempt | null {
  const f = line.split(' ') as string[]
  // Histories of before have no refusal.
  if (f.length < 17 || f.length > 18 || f[0] !== 'h') return null
  const startedAt = Number(f[1])
  const key = orNull(f[5] as string)
  return {
    startedAt,
    endedAt: startedAt + Number(f[2]),
    kind: f[3] as ClientKind,
    client: orNull(f[4] as string) ?? '',
    key,
    newKey: f[6] === '=' ? key : orNull(f[6] as string),
    method: f[7] as string,
    body: f[8] === '1',
    status: Number(f[9]),
    instance: orNull(f[10] as string),
    slot: f[11] === '-' ? null : Number(f[11]),
    version: orNull(f[12] as string),
    id: f[13] as string,
    router: Number(f[14]),
    error: orNull(f[15] as string),
    stream: f[16] === '1',
    refusal: orNull(f[17] ?? '-'),
  }
}

export function parseHistory(lines: string): Attempt[] {
  const attempts: Attempt[] = []
  for (const line of lines.split('\n')) {
    const attempt = parseAttempt(line)
    if (attempt !== null) attempts.push(attempt)
  }
  return attempts.sort((a, b) => a.startedAt - b.startedAt)
}
