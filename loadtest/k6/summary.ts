import { METRIC_PROMISES, NEEDED, type Needed, needsOf, type PromiseMetric } from '../promises.ts'
import type { Settings } from './settings.ts'

type Metric = { values: Record<string, number>; thresholds?: Record<string, { ok: boolean }> }
export type SummaryData = { metrics: Record<string, Metric> }

/** To the file that the runner asked for, or as text for people who run a script alone. */
export function summarise(data: SummaryData, settings: Settings): Record<string, string> {
  if (settings.summary !== null) return { [settings.summary]: JSON.stringify(data) }
  return { stdout: `${text(data, settings).join('\n')}\n` }
}

export const crossed = (metric: Metric | undefined): boolean =>
  Object.values(metric?.thresholds ?? {}).some(({ ok }) => !ok)

function text({ metrics }: SummaryData, settings: Settings): string[] {
  const value = (name: string, of = 'count') => metrics[name]?.values[of] ?? 0
  const ms = (of: string) => `${Math.round(value('request_ms', of))} ms`
  const lines = [
    '',
    `${value('app_requests')} requests, ${value('app_errors')} without a good answer, ${value('sessions_moved')} moves of sessions; median ${ms('med')}, p95 ${ms('p(95)')}, p99 ${ms('p(99)')}, seed ${settings.seed}`,
    '',
  ]
  const unknown = (Object.keys(NEEDED) as Needed[]).filter((needed) => crossed(metrics[needed]))
  const dropped = value('dropped_iterations')
  for (const [name, { rule, words }] of Object.entries(METRIC_PROMISES)) {
    const metric = metrics[name]
    if (metric?.thresholds === undefined) continue
    // What an unfit run did not find proves nothing.
    const proved = dropped === 0 && !needsOf(name as PromiseMetric).some((needed) => unknown.includes(needed))
    lines.push(`${crossed(metric) ? '✗' : proved ? '✓' : '?'} ${name}: ${value(name)} ${words} (${rule})`)
  }
  for (const needed of unknown) {
    const [without, all] = [value(needed, 'fails'), value(needed, 'fails') + value(needed, 'passes')]
    const what = needed === 'sockets_placed' ? 'WebSockets' : 'good answers'
    lines.push('', `Harness unfit: ${without} of ${all} ${what} ${NEEDED[needed]}, so what has a ? is not proved.`)
  }
  if (dropped > 0) {
    lines.push(
      '',
      `Harness unfit: ${dropped} visits could not begin in time, so this run proves nothing. Lower RATE or raise VUS.`,
    )
  }
  return lines
}
