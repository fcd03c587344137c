/** Of a run what the report shows; this is also what `series.json` holds. */
import { describeFinding } from '../check/finding.ts'
import type { ScenarioResult } from '../runner/run-scenario.ts'
import { type Series, seriesOf } from './series.ts'

export type RunData = {
  scenario: string
  words: string
  rules: string[]
  /** Somebody's app that was tested; null for that of the load tests. */
  app: string | null
  outcome: 'held' | 'broken' | 'unfit'
  unfit: string[]
  skipped: string[]
  seed: number
  /** ISO 8601. */
  startedAt: string
  seconds: number
  rate: number
  /** As asked for; operations that took longer prolonged it. */
  durationMs: number
  requests: number
  sessions: number
  moved: number
  routers: number
  /** Promises, broken ones first. */
  promises: Array<{ by: string; name: string; rule: string; words: string; count: number; findings: string[] }>
  /** Faults and operations; seconds since the beginning of the run. */
  marks: Array<{ at: number; until: number | null; kind: string; words: string }>
  operations: Array<{
    type: string
    state: string
    steps: Array<{ at: number; seconds: number | null; words: string }>
  }>
  series: Series
}

const MOST_FINDINGS = 20

export function runData(result: ScenarioResult): RunData {
  const { verdict, history, startedAt, endedAt, world } = result
  const last = history.reduce((latest, attempt) => Math.max(latest, attempt.endedAt), startedAt)
  const until = Math.min(endedAt, last)
  const since = (ms: number) => Math.round(ms - startedAt) / 1000
  return {
    scenario: result.scenario,
    words: result.words,
    rules: result.rules,
    app: result.own ? null : result.app,
    outcome: verdict.outcome,
    unfit: verdict.unfit,
    skipped: result.skipped,
    seed: result.seed,
    startedAt: new Date(startedAt).toISOString(),
    seconds: since(until),
    rate: result.load.rate,
    durationMs: result.load.durationMs,
    requests: history.length,
    sessions: result.moves.sessions,
    moved: result.moves.moved,
    routers: new Set(history.map(({ router }) => router)).size,
    promises: verdict.rows
      .map(({ findings, ...row }) => ({ ...row, findings: findings.slice(0, MOST_FINDINGS).map(describeFinding) }))
      .sort((a, b) => Number(b.count > 0) - Number(a.count > 0)),
    marks: result.marks.map((mark) => ({
      ...mark,
      at: since(mark.at),
      until: mark.until === null ? null : since(mark.until),
    })),
    operations: world.operations.map(({ type, state, steps }) => ({
      type,
      state,
      steps: steps.map(({ words, startedAt: at, endedAt: end }) => ({
        at: since(at),
        seconds: end === null ? null : (end - at) / 1000,
        words,
      })),
    })),
    series: seriesOf(history, startedAt, until),
  }
}
