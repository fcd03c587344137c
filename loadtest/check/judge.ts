/** The verdict: everything that was found, promise by promise, each with the rule that it proves. */
import { digestKey, pickSlot } from '../../domain/affinity.ts'
import { NAMING_KEY_HEADER, SERVED_BY_HEADER } from '../../domain/served-by.ts'
import type { Attempt } from '../history-line.ts'
import { crossed, type SummaryData } from '../k6/summary.ts'
import { FINDING_PROMISES, type FindingKind, METRIC_PROMISES, needsOf, type PromiseMetric } from '../promises.ts'
import {
  cookiesPassedOn,
  type Execution,
  ejectedWhileBusy,
  executedTwice,
  hiddenRetries,
  lost,
  type Passage,
  slowFailovers,
} from './delivery.ts'
import type { Finding } from './finding.ts'
import { askedToMove, beyondPlan, keysReplaced, movedNeedlessly, movedWithoutCause, uneven } from './placement.ts'
import { oldAfterNew, operationsFailed, outsideItsTime } from './succession.ts'
import { SKEW_MS, tableTimes, type World } from './world.ts'

export type Evidence = {
  history: Attempt[]
  /** Null where the app writes no journal, and the routers no log that we can read. */
  executions: Execution[] | null
  passages: Passage[] | null
  world: World
  /** What the stack left behind; null where it was not measured. */
  leftBehind?: Finding[] | null
  /** k6's own summary; null where it left none. */
  summary: SummaryData | null
}

/** One promise: kept or broken. */
export type Row = {
  /** A threshold of k6, or a check of the runner. */
  by: 'threshold' | 'check'
  name: PromiseMetric | FindingKind
  rule: string
  words: string
  /** How often it was broken. */
  count: number
  findings: Finding[]
}

/** Longer than the slowest handler takes: who waited so long had to. */
const WAITED_MS = 1_000

export type Verdict = {
  outcome: 'held' | 'broken' | 'unfit'
  rows: Row[]
  /** Why the harness was unfit. */
  unfit: string[]
}

export type JudgeOptions = {
  lossRule?: string
  /** From whom the clients were to hear which instance answered. */
  namedBy?: 'router' | 'app'
  /** Why the run ended early; null when it did not. */
  cutShort?: string | null
  /** Whether all that the scenario does to the app had to be left out. */
  nothingDone?: boolean
}

export function judge(evidence: Evidence, options: JudgeOptions = {}): Verdict {
  const { world, executions, passages, summary } = evidence
  const { cutShort = null } = options
  const history = withTables(evidence.history, world)
  const strays = outsideItsTime(history, world)
  const found: Partial<Record<FindingKind, Finding[]>> = {
    lost: lost(history, { executions, passages }, world),
    moved_needlessly: [...movedNeedlessly(history, world), ...movedWithoutCause(history, world)],
    key_replaced: keysReplaced(history, world),
    old_version_after_new: oldAfterNew(history, world),
    answered_after_drain: strays.filter(({ kind }) => kind === 'answered_after_drain'),
    answered_before_ready: strays.filter(({ kind }) => kind === 'answered_before_ready'),
    operation_failed: operationsFailed(world),
    not_carried_out: notCarriedOut(history, world),
    ...(evidence.leftBehind != null && { left_behind: evidence.leftBehind }),
    ...(passages !== null && { hidden_retry: hiddenRetries(history, passages) }),
    ...(executions !== null && {
      executed_twice: executedTwice(history, executions, world),
      cookie_passed_on: cookiesPassedOn(history, executions),
    }),
    ...(world.rebalances.length > 0 && { rebalanced_beyond_plan: beyondPlan(world) }),
    ...(world.faults.some(({ kind }) => kind === 'kill' || kind === 'hang') && {
      slow_failover: slowFailovers(history, world),
    }),
    ...(world.faults.some(({ kind }) => kind === 'busy') && { ejected_while_busy: ejectedWhileBusy(world) }),
    ...(world.tables.length === 1 && world.faults.length === 0 && { uneven: uneven(history, world) }),
  }
  const rows: Row[] = Object.entries(found).map(([name, findings]) => {
    const { rule, words } = FINDING_PROMISES[name as FindingKind]
    return {
      by: 'check',
      name: name as FindingKind,
      rule: name === 'lost' ? (options.lossRule ?? rule) : rule,
      words,
      count: findings.length,
      findings,
    }
  })
  // Thresholds of a run that was cut short in the middle of requests mean nothing.
  if (summary !== null && cutShort === null) rows.push(...thresholdsOf(summary))
  const unfit = unfitness({ ...evidence, history }, options)
  const broken = rows.some(({ count }) => count > 0)
  // What an unfit harness found may be its own fault; what it did not find proves nothing.
  return { outcome: unfit.length > 0 ? 'unfit' : broken ? 'broken' : 'held', rows, unfit }
}

function thresholdsOf(summary: SummaryData): Row[] {
  return (Object.keys(METRIC_PROMISES) as PromiseMetric[]).flatMap((name) => {
    const metric = summary.metrics[name]
    if (metric?.thresholds === undefined) return []
    // k6 counts as it goes, by what answers say. Of those that do not say it the checks know more, by the tables.
    if (needsOf(name).some((needed) => crossed(summary.metrics[needed]))) return []
    const { rule, words } = METRIC_PROMISES[name]
    return [{ by: 'threshold' as const, name, rule, words, count: metric.values.count ?? 0, findings: [] }]
  })
}

/** Slots and deployments as the tables know them for every app, whatever it says of itself. */
function withTables(history: Attempt[], world: World): Attempt[] {
  const known = new Map<string, { slot: number; deployment: string | null }>()
  for (const { endpoints } of world.tables) for (const endpoint of endpoints) known.set(endpoint.instance, endpoint)
  return history.map((attempt) => {
    const endpoint = known.get(attempt.instance ?? '')
    return endpoint === undefined
      ? attempt
      : { ...attempt, slot: endpoint.slot, version: endpoint.deployment ?? attempt.version }
  })
}

/** A fault that hit nobody, a deployment that nobody saw, a rebalance that moved nobody: green for no reason. */
function notCarriedOut(history: Attempt[], world: World): Finding[] {
  const findings: Finding[] = []
  const missing = (at: number, message: string) => findings.push({ kind: 'not_carried_out', at, message })
  if (history.length === 0) missing(0, 'nobody asked anything')
  const times = tableTimes(world)
  for (const { slot, at, until } of world.faults.filter(({ kind }) => kind === 'busy')) {
    const waited = history.some(
      (attempt) => attempt.slot === slot && attempt.startedAt < until - WAITED_MS && attempt.endedAt >= until - SKEW_MS,
    )
    if (!waited) missing(at, `nobody waited for slot ${slot} while it was busy`)
  }
  for (const fault of world.faults.filter(({ kind }) => kind === 'kill' || kind === 'hang')) {
    const hit = history.some(({ key, slot, startedAt, endedAt }) => {
      if (key === null || slot === null || slot === fault.slot || startedAt > fault.until || endedAt < fault.at)
        return false
      return times.some(({ table, from, to }) => {
        const slots = table.endpoints.filter(({ state }) => state === 'serving').map((endpoint) => endpoint.slot)
        return from <= endedAt && to >= startedAt && pickSlot(digestKey(key), slots) === fault.slot
      })
    })
    if (!hit) missing(fault.at, `the ${fault.kind} of slot ${fault.slot} sent no session elsewhere`)
  }
  // A session moves when it asks again, so without that none had to.
  for (const { at, epoch, atMost, moved } of world.rebalances.filter(({ moved }) => moved === 0)) {
    const asked = new Set(askedToMove(history, world, epoch).map(({ client }) => client)).size
    if (moved === 0 && atMost > 0 && asked > 0)
      missing(at, `a rebalance of at most ${atMost} sessions moved none, although ${asked} of them asked again`)
  }
  const sockets = history.filter(({ kind }) => kind === 'socket')
  const replaced = world.operations.some(
    ({ type, state }) => ['deploy', 'restart'].includes(type) && state === 'SUCCEEDED',
  )
  if (sockets.length > 0 && replaced && new Set(sockets.map(({ client }) => client)).size === sockets.length) {
    missing(sockets[0]?.startedAt ?? 0, 'no WebSocket was closed by the other side and opened again')
  }
  for (const { type, deployment, state, startedAt } of world.operations) {
    if (type !== 'deploy' || deployment === null || state !== 'SUCCEEDED') continue
    if (!history.some(({ version }) => version === deployment))
      missing(startedAt, `nobody saw deployment ${deployment}`)
  }
  return findings
}

/** Reasons why neither green nor red would mean anything. */
function unfitness({ history, executions, passages, summary }: Evidence, options: JudgeOptions): string[] {
  const { namedBy = 'app', cutShort = null, nothingDone = false } = options
  const reasons: string[] = []
  if (nothingDone) reasons.push('nothing was done to the app: all that this scenario does had to be left out')
  if (cutShort !== null) reasons.push(`the run was cut short: ${cutShort}`)
  else reasons.push(...uncounted(history, summary))
  reasons.push(...pageless(history))
  const answered = history.filter(({ status }) => status >= 200 && status < 400)
  reasons.push(...unnamed(answered, namedBy))
  // Of our own app the router may be to blame, and then that is what was found.
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
