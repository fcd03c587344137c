/**
 * Counters of one process. They live in plain fields, because they are touched by every request; the primary adds up
 * the snapshots of all processes, those that have ended included, so that no total ever falls.
 */

/** Upper bounds of the latency buckets, in seconds. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** Series in the text of Prometheus → value. */
export type MetricsSnapshot = { counters: Record<string, number>; gauges: Record<string, number> }

export class AppMetrics {
  /** By the first digit of the status; 0 for clients that left before one was sent. */
  readonly byClass = [0, 0, 0, 0, 0, 0]
  readonly buckets = new Array<number>(BUCKETS.length + 1).fill(0)
  seconds = 0
  retries = 0
  minted = 0
  moved = 0
  rebalanced = 0
  upgrades = 0

  observe(status: number, ms: number): void {
    const seconds = ms / 1000
    this.byClass[(status / 100) | 0] = (this.byClass[(status / 100) | 0] ?? 0) + 1
    this.seconds += seconds
    let i = 0
    while (i < BUCKETS.length && seconds > (BUCKETS[i] as number)) i++
    this.buckets[i] = (this.buckets[i] as number) + 1
  }
}

export class Metrics {
  private readonly apps = new Map<string, AppMetrics>()
  /** Answers that the router gave itself, by reason. */
  private readonly refusals = new Map<string, number>()
  /** Connections that were closed as soon as they came, by what there was no room in. */
  readonly turnedAway = { descriptors: 0, maxConnections: 0 }
  connections = 0
  waiting = 0

  app(name: string): AppMetrics {
    let metrics = this.apps.get(name)
    if (metrics === undefined) {
      metrics = new AppMetrics()
      this.apps.set(name, metrics)
    }
    return metrics
  }

  refusalsFor(reason: string): number {
    return this.refusals.get(reason) ?? 0
  }

  refused(reason: string): void {
    this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1)
  }

  snapshot(): MetricsSnapshot {
    const counters: Record<string, number> = {}
    for (const [name, app] of this.apps) {
      const label = `app="${name}"`
      app.byClass.forEach((count, digit) => {
        if (count > 0) counters[`coppice_router_requests_total{${label},code="${digit}xx"}`] = count
      })
      let sum = 0
      app.buckets.forEach((count, i) => {
        sum += count
        const le = BUCKETS[i] ?? '+Inf'
        counters[`coppice_router_request_seconds_bucket{${label},le="${le}"}`] = sum
      })
      counters[`coppice_router_request_seconds_sum{${label}}`] = app.seconds
      counters[`coppice_router_request_seconds_count{${label}}`] = sum
      counters[`coppice_router_retries_total{${label}}`] = app.retries
      counters[`coppice_router_upgrades_total{${label}}`] = app.upgrades
      counters[`coppice_router_sessions_minted_total{${label}}`] = app.minted
      counters[`coppice_router_sessions_moved_total{${label},cause="unavailable"}`] = app.moved
      counters[`coppice_router_sessions_moved_total{${label},cause="rebalance"}`] = app.rebalanced
    }
    for (const [reason, count] of this.refusals) {
      counters[`coppice_router_refusals_total{reason="${reason}"}`] = count
    }
    for (const [cause, count] of Object.entries(this.turnedAway)) {
      if (count > 0) counters[`coppice_router_turned_away_connections_total{cause="${cause}"}`] = count
    }
    return {
      counters,
      gauges: { coppice_router_connections: this.connections, coppice_router_waiting_requests: this.waiting },
    }
  }
}

/** Adds what `from` counted to `into`. */
export function addCounts(into: Record<string, number>, from: Record<string, number>): void {
  for (const [series, value] of Object.entries(from)) into[series] = (into[series] ?? 0) + value
}

/** The text format of Prometheus; series of one name stand together, as it demands. */
export function exposition(counters: Record<string, number>, gauges: Record<string, number>): string {
  const lines: string[] = []
  const write = (series: Record<string, number>, type: string) => {
    const byName = new Map<string, string[]>()
    for (const [key, value] of Object.entries(series)) {
      const bare = key.split('{', 1)[0] as string
      const name = bare.replace(/_(bucket|sum|count)$/, (suffix) => (bare.includes('_seconds_') ? '' : suffix))
      const group = byName.get(name) ?? []
      group.push(`${key} ${value}`)
      byName.set(name, group)
    }
    for (const [name, group] of byName) {
      lines.push(`# TYPE ${name} ${name.endsWith('_seconds') ? 'histogram' : type}`, ...group)
    }
  }
  write(counters, 'counter')
  write(gauges, 'gauge')
  return `${lines.join('\n')}\n`
}
