/** The verdict: everything that was found, promise by promise, each with the rule that it proves. */
import { digestKey, pickSlot } from '../../domain/affinity.ts'
import type { Attempt } from '../history-line.ts'
import { crossed, type SummaryData } from '../k6/summary.ts'
import { FINDING_PROMISES, type FindingKind, METRIC_PROMISES, needsOf, type PromiseMetric } from '../promises.ts'
import { cookiesPassedOn, ejectedWhileBusy, executedTwice, hiddenRetries, lost, slowFailovers } from './delivery.ts'
import type { Evidence, JudgeOptions } from './evidence.ts'
import type { Finding } from './finding.ts'
import { unfitness } from './fitness.ts'
import { askedToMove, beyondPlan, keysReplaced, movedNeedlessly, movedWithoutCause, uneven } from './placement.ts'
import { oldAfterNew, operationsFailed, outsideItsTime } from './succession.ts'
import { SKEW_MS, tableTimes, type World } from './world.ts'

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

export function judge(evidence: Evidence, options: JudgeOptions = {}): Verdict {
  const { world, executions, passages, summary } = evidence
  const { cutShort = null, nothingDone = false } = options
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
  const broken = rows.some(({ count }) => count > 0)
  const unfit = unfitness({ ...evidence, history }, options)
  // What was lost all the same was lost.
  if (nothingDone && !broken) unfit.push('nothing was done to the app: all that this scenario does had to be left out')
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
  for (const { at, epoch, atMost, moved } of world.rebalances) {
    if (moved !== 0 || atMost === 0) continue
    const asked = new Set(askedToMove(history, world, epoch).map(({ client }) => client)).size
    if (asked > 0)
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
