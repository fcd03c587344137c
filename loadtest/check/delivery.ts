/** Whether each request was carried out once and answered (R1.2, R12.1, R12.2). */
import { type Attempt, isRepeatable } from '../history-line.ts'
import { type Finding, finding } from './finding.ts'
import { type Fault, mayBeDown, SKEW_MS, type World } from './world.ts'

/** One line of an instance's journal: it began to execute this attempt. */
export type Execution = {
  id: string
  instance: string
  at: number
  /** It came with the routing cookie. */
  withCookie?: boolean
}

/** One line of a router's access log. */
export type Passage = {
  id: string
  /** Which had it last; null where none did. */
  instance: string | null
  status: number
  attempts: number
  clientGone: boolean
}

/** How long R12.2 lets an ejection take, and what a busy machine adds to a retry. */
const EJECTION_MS = 3_000
const TOLERANCE_MS = 1_200
/** Routers report at least so often. */
const REPORT_MS = 2_000

/** By which a router says that it gave a request to nobody (router/refusal.ts), and an app that it does not want it. */
const REFUSED = 503

/**
 * Attempts without a good answer. A fault may cost what was in flight on its victim (R12.1): what must not be repeated,
 * and what may be if its answer had begun, as the router's log tells. A hung victim takes in requests until it is
 * ejected; when it goes on, it may find their connections too old and close them unread. What was at no instance, another
 * one could have had: no fault excuses that.
 *
 * @param seen null each where nobody wrote down where a request was: then it may have been on the victim
 */
export function lost(
  history: Attempt[],
  seen: { executions: Execution[] | null; passages: Passage[] | null },
  world: World,
): Finding[] {
  const executed = executionsById(seen.executions ?? [])
  const passed = new Map(seen.passages?.map((passage) => [passage.id, passage]))
  const isWritten = seen.executions !== null || seen.passages !== null
  const excused = (attempt: Attempt): boolean => {
    const passage = passed.get(attempt.id)
    const begun = passage !== undefined && passage.status >= 200 && passage.status < 400
    if ((isRepeatable(attempt) && !begun) || attempt.status === REFUSED) return false
    const where = (executed.get(attempt.id) ?? []).map(({ instance }) => instance)
    if (passage?.instance != null) where.push(passage.instance)
    if (isWritten && where.length === 0) return false
    return world.faults.some(
      (fault) => inFlightAt(attempt, fault) && where.every((instance) => instance === fault.instance),
    )
  }
  return history
    .filter(({ status }) => status < 200 || status >= 400)
    .filter((attempt) => !excused(attempt))
    .map((attempt) => {
      const answer = attempt.status === 0 ? `no answer (${attempt.error ?? 'unknown'})` : `status ${attempt.status}`
      return finding('lost', attempt, `${attempt.method} got ${answer}`)
    })
}

function inFlightAt({ startedAt, endedAt }: Attempt, { kind, at }: Fault): boolean {
  if (kind === 'ejected' || kind === 'busy' || endedAt < at - SKEW_MS) return false
  return startedAt <= at + SKEW_MS + (kind === 'hang' ? EJECTION_MS : 0)
}

/** Attempts that one client sent and a router saw twice: the first connection was lost, and Go asked again by itself. */
export function hiddenRetries(history: Attempt[], passages: Passage[]): Finding[] {
  const byId = new Map(history.map((attempt) => [attempt.id, attempt]))
  const counts = new Map<string, number>()
  for (const { id } of passages) counts.set(id, (counts.get(id) ?? 0) + 1)
  const findings: Finding[] = []
  for (const [id, count] of counts) {
    const attempt = byId.get(id)
    if (count > 1 && attempt !== undefined) {
      findings.push(finding('hidden_retry', attempt, `routers saw this attempt ${count} times`))
    }
  }
  return findings
}

/**
 * Attempts that were begun more often than they may be: once, or twice when they may be repeated and the instance that
 * had them first was lost (R12.2).
 */
export function executedTwice(history: Attempt[], executions: Execution[], world: World): Finding[] {
  const byId = executionsById(executions)
  const allowed = (attempt: Attempt, begun: Execution[]): number => {
    if (!isRepeatable(attempt)) return 1
    const wasLost = world.faults.some(
      ({ kind, instance, at, until }) =>
        (kind === 'kill' || kind === 'hang') &&
        begun.some((execution) => execution.instance === instance) &&
        attempt.startedAt <= until + SKEW_MS &&
        attempt.endedAt >= at - SKEW_MS,
    )
    // An app may close a connection on its own account, also in mid-answer.
    const restarts = world.operations.length > 0
    return wasLost || restarts ? 2 : 1
  }
  return history
    .filter((attempt) => {
      const begun = byId.get(attempt.id) ?? []
      return begun.length > allowed(attempt, begun)
    })
    .map((attempt) => {
      const where = byId.get(attempt.id)?.map(({ instance }) => instance)
      return finding('executed_twice', attempt, `${attempt.method} was begun by ${where?.join(' and ')}`)
    })
}

/** Requests that brought the app what is between client and router only (R7.4). */
export function cookiesPassedOn(history: Attempt[], executions: Execution[]): Finding[] {
  const bare = new Set(executions.flatMap(({ id, withCookie }) => (withCookie === true ? [id] : [])))
  return history
    .filter(({ id }) => bare.has(id))
    .map((attempt) => finding('cookie_passed_on', attempt, `${attempt.instance} was sent the routing cookie`))
}

/** Repeatable requests of a faulted slot's sessions that waited longer for another instance than they may (R12.2). */
export function slowFailovers(history: Attempt[], world: World): Finding[] {
  const limit = EJECTION_MS + 2 * world.slowestMs + TOLERANCE_MS
  const findings: Finding[] = []
  for (const fault of world.faults.filter(({ kind }) => kind === 'kill' || kind === 'hang')) {
    for (const attempt of history) {
      if (!isRepeatable(attempt) || attempt.startedAt > fault.until || attempt.endedAt < fault.at) continue
      // It waited for the rest of what the hung one had begun. (A socket's greeting is read after the stream beside it.)
      if (attempt.stream && attempt.startedAt < fault.at && attempt.instance === fault.instance) continue
      const waited = attempt.endedAt - Math.max(attempt.startedAt, fault.at)
      if (waited > limit) {
        const words = `answered ${waited} ms after the ${fault.kind} of slot ${fault.slot}, at most ${limit} are allowed`
        findings.push(finding('slow_failover', attempt, words))
      }
    }
  }
  return findings
}

/** Instances that routers ejected although they were only busy (R12.2). */
export const ejectedWhileBusy = ({ faults }: World): Finding[] =>
  faults
    .filter(({ kind }) => kind === 'busy')
    .flatMap((busy) =>
      faults
        .filter(
          ({ kind, instance, seenAt = 0 }) =>
            kind === 'ejected' && instance === busy.instance && seenAt >= busy.at && seenAt <= busy.until + REPORT_MS,
        )
        .map(({ at }) => ({
          kind: 'ejected_while_busy' as const,
          at,
          message: `slot ${busy.slot} was ejected, although it was only busy for ${busy.until - busy.at} ms`,
        })),
    )

/** How long requests in flight at a fault took to be answered elsewhere, ms; for the report. */
export function failoverTimes(history: Attempt[], executions: Execution[], world: World): number[] {
  const byId = executionsById(executions)
  return history
    .filter(({ id, status }) => status === 200 && (byId.get(id)?.length ?? 0) > 1)
    .filter(
      ({ slot, startedAt, endedAt }) =>
        slot !== null && world.faults.some((f) => mayBeDown(world, f.slot, startedAt, endedAt)),
    )
    .map(({ startedAt, endedAt }) => endedAt - startedAt)
    .sort((a, b) => a - b)
}

export function executionsById(executions: Execution[]): Map<string, Execution[]> {
  const byId = new Map<string, Execution[]>()
  for (const execution of executions) {
    const list = byId.get(execution.id)
    if (list === undefined) byId.set(execution.id, [execution])
    else list.push(execution)
  }
  return byId
}
