import { METRIC_PROMISES } from '../promises.ts'
import type { Settings } from './settings.ts'

type Metric = { values: Record<string, number>; thresholds?: Record<string, { ok: boolean }> }
export type SummaryData = { metrics: Record<string, Metric> }

/** To the file that the runner asked for, or as text for people who run a script alone. */
export function summarise(data: SummaryData, settings: Settings): Record<string, string> {
  if (settings.summary !== null) return { [settings.summary]: JSON.stringify(data) }
  return { stdout: `${text(data, settings).join('\n')}\n` }
}

function text({ metrics }: SummaryData, settings: Settings): string[] {
  const value = (name: string, of = 'count') => metrics[name]?.values[of] ?? 0
  const ms = (of: string) => `${Math.round(value('request_ms', of))} ms`
  const lines = [
    '',
    `${value('app_requests')} requests, ${value('app_errors')} without a good answer, ${value('sessions_moved')} moves of sessions; median ${ms('med')}, p95 ${ms('p(95)')}, p99 ${ms('p(99)')}, seed ${settings.seed}`,
    '',
  ]
  for (const [name, { rule, words }] of Object.entries(METRIC_PROMISES)) {
    const thresholds = metrics[name]?.thresholds
    if (thresholds === undefined) continue
    const holds = Object.values(thresholds).every(({ ok }) => ok)
    lines.push(`${holds ? '✓' : '✗'} ${name}: ${value(name)} ${words} (${rule})`)
  }
  const dropped = value('dropped_iterations')
  if (dropped > 0) {
    lines.push(
      '',
      `Harness unfit: ${dropped} visits could not begin in time, so this run proves nothing. Lower RATE or raise VUS.`,
    )
  }
  return lines
}
