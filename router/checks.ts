import { Agent, request } from 'undici'
import type { AppRoute, Endpoint, RouteTable } from '../domain/route-table.ts'
import type { CheckOptions } from './options.ts'

/** `unknown`: this process itself was too late to tell. */
type Verdict = 'up' | 'refused' | 'failed' | 'unknown'

/** A timer that fires so much too late says something about this machine, not about the instance. */
const LATE_MS = 300

type Watched = {
  app: string
  endpoint: Endpoint
  healthPath: string | null
  /** Failures in a row. */
  failures: number
  /** Successes in a row since it was found failing. */
  successes: number
  failing: boolean
  checking: boolean
  timer: NodeJS.Timeout | null
  /** When the running check began; ms since 1970. */
  since: number
  /** It answered a real request since then. */
  alive: boolean
}

/**
 * Active checks (R12.2), done once for all processes so that they agree. An endpoint is failing when its port refuses
 * connections, or when two checks in a row are not answered in time or answered badly. Of each app's serving
 * endpoints none is ejected when more than half are failing: then the fault is likely elsewhere, and to send
 * everything to the few that are left would take them down too.
 */
export class Checks {
  private watched = new Map<string, Watched>()
  private readonly options: CheckOptions
  private readonly onChange: (down: string[]) => void
  private down: string[] = []
  private readonly agent: Agent

  /** @param onChange called with the ids of all ejected instances whenever they change */
  constructor(options: CheckOptions, onChange: (down: string[]) => void) {
    this.options = options
    this.onChange = onChange
    // A connection of its own for each check: one that is kept open says nothing about the next client.
    this.agent = new Agent({ pipelining: 0, allowH2: false, connectTimeout: options.timeoutMs })
  }

  ejected(): string[] {
    return this.down
  }

  /** Watches the serving endpoints of this table, and no others. */
  watch(table: RouteTable): void {
    const next = new Map<string, Watched>()
    for (const app of table.apps) {
      for (const endpoint of app.endpoints) {
        if (endpoint.state !== 'serving') continue
        const id = `${endpoint.instance}@${endpoint.address}`
        next.set(id, this.watched.get(id) ?? this.begin(app, endpoint))
      }
    }
    for (const [id, watched] of this.watched) {
      if (next.has(id)) continue
      if (watched.timer !== null) clearTimeout(watched.timer)
      watched.timer = null
      watched.checking = true
    }
    this.watched = next
    this.judge()
  }

  /** A request could not reach this instance: look at once. */
  suspect(instance: string): void {
    for (const watched of this.watched.values()) {
      if (watched.endpoint.instance === instance && !watched.failing) this.soon(watched, 0)
    }
  }

  /** These answered requests: an app that is busy may be slow to answer a check, and is not hung. */
  answered(times: Readonly<Record<string, number>>): void {
    for (const watched of this.watched.values()) {
      if ((times[watched.endpoint.instance] ?? 0) > watched.since) watched.alive = true
    }
  }

  stop(): void {
    this.watch({ inventory: '', version: 0, apps: [] })
  }

  private begin(app: AppRoute, endpoint: Endpoint): Watched {
    const watched: Watched = {
      app: app.app,
      endpoint,
      healthPath: app.healthPath,
      failures: 0,
      successes: 0,
      failing: false,
      checking: false,
      timer: null,
      since: 0,
      alive: false,
    }
    // Spread over the interval, so that many instances are not asked in one breath.
    this.soon(watched, Math.random() * this.options.intervalMs)
    return watched
  }

  private soon(watched: Watched, ms: number): void {
    if (watched.checking) return
    if (watched.timer !== null) clearTimeout(watched.timer)
    watched.timer = setTimeout(() => this.check(watched), ms)
  }

  private async check(watched: Watched): Promise<void> {
    watched.checking = true
    watched.since = Date.now()
    watched.alive = false
    const verdict = await this.probe(watched.endpoint.address, watched.healthPath, this.options.timeoutMs)
    if (![...this.watched.values()].includes(watched)) return
    watched.checking = false
    const before = watched.failing
    if (verdict === 'unknown' || (verdict === 'failed' && watched.alive && !watched.failing)) {
      // It may have hung right after that answer: no reason to eject it, and none to wait.
      this.soon(watched, this.options.confirmAfterMs)
      return
    }
    if (verdict === 'up') {
      watched.failures = 0
      watched.successes++
      if (watched.successes >= 2) watched.failing = false
    } else {
      watched.successes = 0
      watched.failures++
      if (verdict === 'refused' || watched.failures >= 2) watched.failing = true
    }
    if (watched.failing !== before) this.judge()
    const unsure = watched.failing ? watched.successes > 0 : watched.failures > 0
    this.soon(watched, unsure ? this.options.confirmAfterMs : this.options.intervalMs)
  }

  /** From failing endpoints to ejected ones: the panic threshold. */
  private judge(): void {
    const apps = new Map<string, Watched[]>()
    for (const watched of this.watched.values()) {
      const list = apps.get(watched.app)
      if (list === undefined) apps.set(watched.app, [watched])
      else list.push(watched)
    }
    const down: string[] = []
    for (const all of apps.values()) {
      const failing = all.filter((watched) => watched.failing)
      if (failing.length * 2 <= all.length) down.push(...failing.map((watched) => watched.endpoint.instance))
    }
    down.sort()
    if (down.join() === this.down.join()) return
    this.down = down
    this.onChange(down)
  }

  /**
   * Asks an instance. Without a path of its own the default of the platform: any answer below 500 on `/`; with one:
   * below 400, as at its start. To connect alone proves nothing: the kernel accepts for a process that is stopped.
   */
  private async probe(address: string, path: string | null, timeoutMs: number): Promise<Verdict> {
    const ok = path === null ? 500 : 400
    const startedAt = performance.now()
    try {
      const { statusCode, body } = await request(`http://${address}${path ?? '/'}`, {
        method: 'GET',
        headers: { 'user-agent': 'coppice-router-check' },
        dispatcher: this.agent,
        signal: AbortSignal.timeout(timeoutMs),
      })
      body.on('error', () => undefined)
      body.destroy()
      return statusCode < ok ? 'up' : 'failed'
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') return 'refused'
      return performance.now() - startedAt > timeoutMs + LATE_MS ? 'unknown' : 'failed'
    }
  }
}
