/** The history as series over time: what the charts show, and what lies beside the report as JSON. */
import type { Attempt } from '../history-line.ts'

export type Series = {
  /** Length of a bucket, ms. */
  bucketMs: number
  /** Beginning of each bucket, seconds since the beginning of the run. */
  seconds: number[]
  /** Answers a second by instance, in the order of slots, then of their first answers. */
  instances: Array<{ instance: string; slot: number | null; version: string | null; perSecond: number[] }>
  /** Requests a second without a good answer. */
  failed: number[]
  /** Sessions that were answered elsewhere than before, a second. */
  moved: number[]
  /** Of good answers, ms; null where there were none. */
  p50: Array<number | null>
  p95: Array<number | null>
  p99: Array<number | null>
}

const BUCKETS_MS = [500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000]
const MOST_BUCKETS = 150

/** @param from Unix ms @param to likewise */
export function seriesOf(history: Attempt[], from: number, to: number): Series {
  const span = Math.max(1, to - from)
  const bucketMs = BUCKETS_MS.find((ms) => span / ms <= MOST_BUCKETS) ?? Math.ceil(span / MOST_BUCKETS)
  const count = Math.ceil(span / bucketMs)
  const zeros = () => new Array<number>(count).fill(0)
  const bucketOf = (at: number) => Math.min(count - 1, Math.max(0, Math.floor((at - from) / bucketMs)))
  const add = (to: number[], at: number) => {
    const bucket = bucketOf(at)
    to[bucket] = (to[bucket] as number) + 1000 / bucketMs
  }
  const series: Series = {
    bucketMs,
    seconds: zeros().map((_, index) => (index * bucketMs) / 1000),
    instances: [],
    failed: zeros(),
    moved: zeros(),
    p50: [],
    p95: [],
    p99: [],
  }
  const byInstance = new Map<string, Series['instances'][number]>()
  const took: number[][] = Array.from({ length: count }, () => [])
  const last = new Map<string, number>()
  // By the time of the answer: that is when somebody noticed.
  for (const attempt of history.toSorted((a, b) => a.endedAt - b.endedAt)) {
    const { endedAt, startedAt, status, instance, slot, version, client, key } = attempt
    if (status < 200 || status >= 400) {
      add(series.failed, endedAt)
      continue
    }
    took[bucketOf(endedAt)]?.push(endedAt - startedAt)
    const name = instance ?? 'unknown'
    let line = byInstance.get(name)
    if (line === undefined) {
      line = { instance: name, slot, version, perSecond: zeros() }
      byInstance.set(name, line)
    }
    add(line.perSecond, endedAt)
    if (slot === null) continue
    const before = last.get(client)
    if (before !== undefined && before !== slot && key !== null) add(series.moved, endedAt)
    last.set(client, slot)
  }
  series.instances = [...byInstance.values()].sort((a, b) => (a.slot ?? 99) - (b.slot ?? 99))
  for (const times of took) {
    times.sort((a, b) => a - b)
    series.p50.push(percentile(times, 0.5))
    series.p95.push(percentile(times, 0.95))
    series.p99.push(percentile(times, 0.99))
  }
  return series
}

/** Nearest rank. @param sorted ascending */
export function percentile(sorted: number[], part: number): number | null {
  return sorted.length === 0 ? null : (sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] as number)
}
