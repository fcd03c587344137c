import { digestKey } from '../domain/affinity.ts'
import type { AppRoute, RouteTable } from '../domain/route-table.ts'
import { Endpoint } from './endpoint.ts'
import { ALL_WELL, type Health } from './health.ts'
import type { AppMetrics, Metrics } from './metrics.ts'
import type { Timeouts } from './options.ts'

/** The primary, which ends a cut-over, and this process may have to do without CPU for so long beside. */
const CUT_OVER_MARGIN_MS = 30_000

/** Less than any limit on silence; on a busy machine the word of the primary may be that old. */
const JUST_HEARD_MS = 500

/** What one process knows about one app; replaced whole when the app's row changes, endpoints live on. */
export class AppRoutes {
  readonly name: string
  readonly row: AppRoute
  readonly metrics: AppMetrics
  /** 32 bits that tell this app's sessions from those of others. */
  readonly hash: number
  /**
   * All slots of the table, also those whose endpoint only drains: the ground set of the rendezvous hash. While a slot
   * drains, its sessions are seen to be away from home, and get keys that keep them where they go.
   */
  readonly slots: number[]
  /** Serving endpoints by slot. */
  readonly bySlot: (Endpoint | undefined)[] = []
  /**
   * ms of performance.now(); 0 for none. A cut-over: new requests wait until every process has stopped to use the
   * instances that are about to go, which is known to be over by then.
   */
  cutOverUntil = 0
  /** Every slot is usable; the fast path. */
  allUp = true
  readonly isUsable = (slot: number): boolean => this.bySlot[slot]?.ejected === false

  constructor(row: AppRoute, serving: Endpoint[], metrics: AppMetrics) {
    this.name = row.app
    this.row = row
    this.metrics = metrics
    this.hash = digestKey(row.app).a
    for (const endpoint of serving) this.bySlot[endpoint.slot] = endpoint
    this.slots = [...new Set(row.endpoints.map((endpoint) => endpoint.slot))].sort((a, b) => a - b)
    this.healthChanged()
  }

  /** New requests wait: for a resume, or for a cut-over. */
  get held(): boolean {
    return this.row.held || this.cutOverUntil !== 0
  }

  get hasServing(): boolean {
    return this.bySlot.some((endpoint) => endpoint !== undefined)
  }

  healthChanged(): void {
    this.allUp = this.slots.every(this.isUsable)
  }
}

export type RoutesEvents = {
  /** Something that a waiting request may have waited for has changed. */
  onChange: () => void
  /** A draining or left endpoint has nothing in flight any more. */
  onIdle: (endpoint: Endpoint) => void
  /** One that let others wait has sent a byte. */
  onSpeaks: () => void
  /** An endpoint began to drain; called once. */
  onDraining: (endpoint: Endpoint, drainTimeoutMs: number) => void
}

/** The route table in force in this process. */
export class Routes {
  version = -1
  inventory = ''
  private byHost = new Map<string, AppRoutes>()
  private byPort = new Map<number, AppRoutes>()
  private apps = new Map<string, AppRoutes>()
  /** Every endpoint that is in the table or still has requests, by instance and address. */
  private readonly endpoints = new Map<string, Endpoint>()
  private health: Health = ALL_WELL
  private readonly timeouts: Timeouts
  private readonly metrics: Metrics
  private readonly events: RoutesEvents

  constructor(timeouts: Timeouts, metrics: Metrics, events: RoutesEvents) {
    this.timeouts = timeouts
    this.metrics = metrics
    this.events = events
  }

  /** There is a table. Before its first one ever, nobody knows which apps there are. */
  get known(): boolean {
    return this.inventory !== ''
  }

  forHost(host: string): AppRoutes | undefined {
    return this.byHost.get(host)
  }

  forPort(port: number): AppRoutes | undefined {
    return this.byPort.get(port)
  }

  forName(app: string): AppRoutes | undefined {
    return this.apps.get(app)
  }

  all(): Iterable<Endpoint> {
    return this.endpoints.values()
  }

  /** Puts a table into force at once and whole. */
  apply(table: RouteTable): void {
    const known = new Set<string>()
    const byHost = new Map<string, AppRoutes>()
    const byPort = new Map<number, AppRoutes>()
    const apps = new Map<string, AppRoutes>()
    for (const row of table.apps) {
      const serving: Endpoint[] = []
      for (const entry of row.endpoints) {
        // An instance that was restarted at another address is another endpoint with the same name.
        const id = `${entry.instance}@${entry.address}#${entry.slot}`
        known.add(id)
        let endpoint = this.endpoints.get(id)
        if (endpoint === undefined || endpoint.state === 'left') {
          endpoint = new Endpoint(entry, this.timeouts, (one) => this.speaks(one))
          this.endpoints.set(id, endpoint)
          this.judge(endpoint)
        }
        if (entry.state === 'serving') {
          endpoint.state = 'serving'
          serving.push(endpoint)
        } else if (endpoint.state === 'serving') {
          const draining = endpoint
          draining.drain(() => this.events.onIdle(draining))
          this.events.onDraining(draining, row.drainTimeoutMs)
        }
      }
      const app = new AppRoutes(row, serving, this.metrics.app(row.app))
      apps.set(row.app, app)
      for (const host of row.hostnames) byHost.set(host.toLowerCase(), app)
      if (row.port !== null) byPort.set(row.port, app)
    }
    for (const [id, endpoint] of this.endpoints) {
      if (known.has(id)) continue
      const left = endpoint
      if (left.state !== 'left') {
        left.leave(() => {
          if (this.endpoints.get(id) === left) this.endpoints.delete(id)
          this.events.onIdle(left)
        })
      }
    }
    this.apps = apps
    this.byHost = byHost
    this.byPort = byPort
    this.inventory = table.inventory
    this.version = table.version
    this.events.onChange()
  }

  /** Until the next table is applied. */
  hold(apps: readonly string[]): void {
    const until = performance.now() + this.timeouts.workerSilenceMs + CUT_OVER_MARGIN_MS
    for (const name of apps) {
      const app = this.apps.get(name)
      if (app !== undefined) app.cutOverUntil = until
    }
  }

  applyHealth(health: Health): void {
    this.health = health
    for (const endpoint of this.endpoints.values()) this.judge(endpoint)
    for (const app of this.apps.values()) app.healthChanged()
    // Only now, when everybody who is out is known to be: what is recalled looks for another instance.
    for (const endpoint of this.endpoints.values()) {
      if (health.givenUp.includes(endpoint.instance)) endpoint.keepAll()
      else if (health.dead.includes(endpoint.instance)) endpoint.recallAll()
    }
    this.events.onChange()
  }

  /**
   * Any byte of it ends its silence (watched.ts). The word of the primary takes a moment; until then whoever was just
   * answered by it would be sent elsewhere with the next request.
   */
  private speaks(endpoint: Endpoint): void {
    endpoint.busy = false
    if (!this.health.dead.includes(endpoint.instance)) {
      if (endpoint.ejected) endpoint.suspectUntil = 0
      endpoint.ejected = false
      for (const app of this.apps.values()) app.healthChanged()
    }
    this.events.onSpeaks()
  }

  /** Silent for longer than their app allows: whatever becomes of them, nothing that they have runs a second time. */
  keep(instances: readonly string[]): void {
    for (const endpoint of this.endpoints.values()) if (instances.includes(endpoint.instance)) endpoint.keepAll()
  }

  private judge(endpoint: Endpoint): void {
    const { dead, givenUp, busy } = this.health
    const { instance } = endpoint
    // Silent, as the primary has it, and heard here meanwhile: it will have been told of that.
    const spoke = busy.includes(instance) && performance.now() - endpoint.heardAt < JUST_HEARD_MS
    const ejected = dead.includes(instance) || (givenUp.includes(instance) && !spoke)
    if (endpoint.ejected && !ejected) endpoint.suspectUntil = 0
    endpoint.ejected = ejected
    endpoint.busy = busy.includes(instance) && !spoke
    endpoint.busyRank = busy.indexOf(instance)
  }
}
