/** Whether a run could show anything: what the harness itself lacked. */
import { NAMING_KEY_HEADER, SERVED_BY_HEADER } from '../../domain/served-by.ts'
import type { Attempt } from '../history-line.ts'
import type { SummaryData } from '../k6/summary.ts'
import type { Evidence, JudgeOptions } from './evidence.ts'

/** Reasons why neither green nor red would mean anything. */
export function unfitness({ history, executions, passages, summary }: Evidence, options: JudgeOptions): string[] {
  const { namedBy = 'app', cutShort = null } = options
  const reasons: string[] = []
  if (cutShort !== null) reasons.push(`the run was cut short: ${cutShort}`)
  else reasons.push(...uncounted(history, summary))
  const answered = history.filter(({ status }) => status >= 200 && status < 400)
  reasons.push(...unnamed(answered, namedBy))
  // Of our own app the router may be to blame, and then that is what was found.
  if (passages === null) reasons.push(...pageless(history))
  const sockets = history.filter(({ kind }) => kind === 'socket')
  if (passages === null && sockets.length > 0 && sockets.every(({ status }) => status === 0)) {
    reasons.push('no WebSocket could be opened; tell where the app has one with -e WS_PATH=…')
  }
  // What was not written down, or is not read right, says of nothing that it was wrong.
  const isMissing = (seen: { id: string }[], asked: Attempt[], where: string): void => {
    const known = new Set(seen.map(({ id }) => id))
    const missing = asked.filter(({ id }) => !known.has(id)).length
    if (tooMany(missing, history)) reasons.push(`${missing} answered requests are in no ${where}`)
  }
  if (passages !== null)
    isMissing(
      passages,
      history.filter(({ status }) => status !== 0),
      "router's log",
    )
  if (executions !== null) isMissing(executions, answered, "instance's journal")
  return reasons
}

/** Without k6's own counts there are no thresholds, and nobody knows whether all was asked, or written down. */
function uncounted(history: Attempt[], summary: SummaryData | null): string[] {
  if (summary === null)
    return ['k6 left no summary of its counts (is the disk full?), so that its thresholds say nothing']
  const reasons: string[] = []
  const counted = (name: string) => summary.metrics[name]?.values.count ?? 0
  const dropped = counted('dropped_iterations')
  if (dropped > 0) reasons.push(`${dropped} visits could not begin in time: this machine is too slow for that rate`)
  if (counted('app_requests') !== history.filter(({ kind }) => kind !== 'socket').length) {
    reasons.push(`k6 counted ${counted('app_requests')} requests, its history has ${history.length}`)
  }
  return reasons
}

/** An app that has nothing for us where we ask is not one that loses requests. */
function pageless(history: Attempt[]): string[] {
  const ofApp = history.filter(({ kind, status, refusal }) => kind !== 'socket' && status !== 0 && refusal === null)
  const statuses = [...new Set(ofApp.map(({ status }) => status))].sort()
  if (statuses.length === 0 || !statuses.every((status) => status >= 400 && status < 500)) return []
  return [
    `the app answered ${statuses.join(' or ')} whatever it was asked; name a page that it has with -e APP_PATH=/…, or what it wants to be shown with -e TOKEN=… or -e HEADERS=…`,
  ]
}

/** What is said about few of them is not said about all. */
const tooMany = (count: number, of: unknown[]): boolean => count > of.length / 100

/** Answers of nobody knows whom: of each it could be said that it came from the right instance. */
function unnamed(answered: Attempt[], namedBy: 'router' | 'app'): string[] {
  const reasons: string[] = []
  const sockets = answered.filter(({ kind }) => kind === 'socket')
  const requests = answered.filter(({ kind }) => kind !== 'socket')
  const count = (of: Attempt[], what: string, without: Attempt[], why: string) => {
    if (tooMany(without.length, of)) reasons.push(`${without.length} of ${of.length} ${what} ${why}`)
  }
  const silent = ({ instance }: Attempt) => instance === null
  const elsewhere = 'tell where the app says it with -e INSTANCE_AT=…'
  count(
    requests,
    'good answers',
    requests.filter(silent),
    namedBy === 'app'
      ? `did not say which instance gave them; ${elsewhere}`
      : `came without the router's word on which instance gave them: a router on the way is of an older version, or something in front of it takes ${NAMING_KEY_HEADER} or ${SERVED_BY_HEADER} away; mend that, or ${elsewhere}`,
  )
  count(
    sockets,
    'WebSockets',
    sockets.filter(silent),
    `did not say which instance they lead to (k6 shows no header of them, only messages of the app can tell); ${elsewhere}`,
  )
  const strangers = answered.filter(({ instance, slot }) => instance !== null && slot === null)
  const [stranger] = strangers
  count(
    answered,
    'good answers',
    strangers,
    `name an instance that is in no route table, such as ${stranger?.instance}; what the app says has to be what stands in its COPPICE_INSTANCE_ID`,
  )
  return reasons
}
