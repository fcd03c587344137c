/** Where an answer says who gave it. */
import { parseServedBy, SERVED_BY_HEADER } from '../../domain/served-by.ts'

export type Answer = { body: string; headers: Record<string, string> }

/** Reads one fact of an answer; null when it is not there. */
export type Reader = (answer: Answer) => string | null

/**
 * @param at `json:path.to.it`, `header:Name`, `regex:…(…)` on the body, whose first group it is, or `served-by:instance`,
 *   `slot` or `deployment`, as our routers say it; empty for never
 * @throws Error for anything else
 */
export function readerOf(at: string): Reader {
  if (at === '') return () => null
  const colon = at.indexOf(':')
  const how = at.slice(0, colon)
  const what = at.slice(colon + 1)
  if (colon > 0 && what !== '') {
    switch (how) {
      case 'json':
        return ({ body }) => fromJson(body, what.split('.'))
      case 'header':
        return ({ headers }) => fromHeaders(headers, what.toLowerCase())
      case 'regex': {
        const pattern = new RegExp(what)
        return ({ body }) => pattern.exec(body)?.[1] ?? null
      }
      case 'served-by':
        if (what === 'instance' || what === 'slot' || what === 'deployment') {
          return ({ headers }) => text(parseServedBy(fromHeaders(headers, SERVED_BY) ?? '')?.[what])
        }
    }
  }
  throw new Error(`"${at}" is not json:path, header:Name, regex:pattern or served-by:instance, slot or deployment`)
}

/** Whether it looks for that in what a message of a WebSocket has none of. */
export const isInHeaders = (at: string): boolean => /^(?:header|served-by):/.test(at)

const SERVED_BY = SERVED_BY_HEADER.toLowerCase()

const text = (value: string | number | null | undefined): string | null =>
  value === undefined || value === null ? null : String(value)

/** Of an event stream the first event counts. */
function fromJson(body: string, path: string[]): string | null {
  let value: unknown
  try {
    value = JSON.parse(body.startsWith('data:') ? body.slice(5, (body.indexOf('\n') + 1 || body.length + 1) - 1) : body)
  } catch {
    return null
  }
  for (const name of path) value = (value as Record<string, unknown> | null | undefined)?.[name]
  return text(value as string | number | null | undefined)
}

function fromHeaders(headers: Record<string, string>, wanted: string): string | null {
  for (const name in headers) if (name.toLowerCase() === wanted) return headers[name] as string
  return null
}

/**
 * Whether this cookie is as R7.4 has it. That is asked of `__Host-` names only: what other platforms demand of their
 * cookies is their own affair.
 * @param setCookie several with `, ` between them, as k6 gives them
 */
export function isGuarded(setCookie: string, name: string): boolean {
  if (!name.startsWith('__Host-')) return true
  const from = setCookie.indexOf(`${name}=`)
  // The comma within a date cuts off what follows, and a cookie with a date is not guarded anyway.
  const [own = ''] = setCookie.slice(from).split(',')
  const attributes = own.split(';').map((part) => part.trim().toLowerCase())
  return (
    ['secure', 'httponly', 'path=/', 'samesite=lax'].every((wanted) => attributes.includes(wanted)) &&
    !attributes.some((attribute) => /^(domain|expires|max-age)=/.test(attribute))
  )
}

/**
 * The routing key among cookies: that of the first configured name that is there.
 * @param names a `*` at the end stands for anything
 */
export function keyAmong(cookies: Record<string, string>, names: readonly string[]): string | null {
  for (const wanted of names) {
    const prefix = wanted.endsWith('*') ? wanted.slice(0, -1) : null
    for (const name in cookies) {
      if (name === wanted || (prefix !== null && name.startsWith(prefix))) return cookies[name] as string
    }
  }
  return null
}
