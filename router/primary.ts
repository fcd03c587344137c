import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { PROTOCOL, type RouterReport, type RouteTable, type TableId } from '../domain/route-table.ts'
import { Admin } from './admin.ts'
import { Checks } from './checks.ts'
import { ControlLink } from './control-link.ts'
import { Fleet } from './fleet.ts'
import type { Health } from './health.ts'
import type { Beat } from './messages.ts'
import type { RouterOptions } from './options.ts'
import { PortGuard, waitForPort } from './port-guard.ts'
import { RebalanceCount } from './rebalance-count.ts'
import { RoutesFile } from './routes-file.ts'
import { selfSigned } from './self-signed.ts'
import type { SessionCount } from './sessions.ts'
import { TableFile } from './table-file.ts'

/** A port that was taken is looked at again so often. */
const TAKEN_PORT_RETRY_MS = 2000

const COUNT_SESSIONS_EVERY_MS = 5000
/** People who ask get the count of now, from a busy machine as well. */
const SESSIONS_PATIENCE_MS = 5000
/** So long a table waits for the disk before it is served without being written down. */
const DISK_PATIENCE_MS = 1000

const NO_ROUTES: RouteTable = { protocol: PROTOCOL, inventory: '', version: 0, apps: [] }

/** What the admin listener shows. */
export type RouterStatus = {
  name: string
  incarnation: string
  address: string
  ready: boolean
  /** Cut off: serves its last table and does not know whether that is the current one. */
  stale: boolean
  table: RouteTable
  /** Version that is applied in all processes and on disk. */
  acknowledged: TableId
  /** Version that new requests of some apps wait for, until other routers let theirs wait, too; null for none. */
  holding: TableId | null
  processes: number
  /** Ejected: dead or given up. */
  down: string[]
  /** They let a question wait. */
  busy: string[]
  inFlight: Record<string, number>
  longLived: Record<string, number>
  problems: Record<string, string>
}

/**
 * The process that owns the table: it takes it from the control plane or a file, has it applied everywhere and written
 * down, and only then acknowledges it. It carries no traffic.
 */
export class Primary {
  private readonly options: RouterOptions
  private readonly log: Logger
  private readonly giveUp: (reason: string) => void
  private readonly incarnation = randomUUID()
  private readonly fleet: Fleet
  private readonly checks: Checks
  private readonly file: TableFile | null
  private readonly link: ControlLink | null
  private readonly routesFile: RoutesFile | null
  private readonly admin: Admin | null
  private table: RouteTable = NO_ROUTES
  /** What the processes are to serve: the newest that is on disk, or has waited for it long enough. */
  private due: RouteTable = NO_ROUTES
  private onDisk = { inventory: '', version: -1 }
  private acknowledged = { inventory: '', version: 0 }
  /** A published table that cannot be applied here, while nothing newer has come. */
  private refused: RouterReport['refused'] = null
  private readonly problems = new Map<string, string>()
  private port = 0
  private readonly ports: PortGuard
  private portTimer: NodeJS.Timeout | null = null
  private announced = false
  private draining = new Set<string>()
  private readonly rebalances = new RebalanceCount()
  /** As last counted. */
  private counted: SessionCount = { sessions: {}, ranks: {} }
  private sessionTimer: NodeJS.Timeout | null = null
  private stopping: Promise<void> | null = null

  /** @param giveUp called with the reason when the router cannot listen at all */
  constructor(options: RouterOptions, log: Logger, giveUp: (reason: string) => void) {
    this.giveUp = giveUp
    this.options = options
    this.log = log
    this.fleet = new Fleet(
      options,
      {
        onListening: (port) => this.listening(port),
        onPortFailed: (port, reason) => this.ports.cannotOpen(port, reason),
        onApplied: () => this.acknowledge(),
        onHolding: () => this.link?.reportNow(),
        onBeat: (beat) => this.heard(beat),
        onSuspect: (instance) => this.checks.suspect(instance),
        onMoved: (moved) => this.rebalances.add(moved),
        onRefused: (version, reason) => {
          if (version === this.table.version) this.refuse({ version, reason })
        },
        onProblem: (key, message) => this.problem(key, message),
      },
      log,
    )
    const host = 'host' in options.listen ? options.listen.host : '127.0.0.1'
    this.ports = new PortGuard(
      host,
      (key, message) => this.problem(key, message),
      (port) => this.fleet.hasOpen(port),
    )
    this.checks = new Checks({
      options: options.checks,
      onChange: (health) => this.healthChanged(health),
      onSilent: (instances) => this.fleet.keep(instances),
      // Alone, nobody knows better than the table either.
      tableIsFresh: () => this.link?.connected ?? true,
    })
    this.file = options.stateDir === null ? null : new TableFile(options.stateDir)
    this.link =
      options.controlPlane === null
        ? null
        : new ControlLink({
            url: options.controlPlane,
            tokenFile: options.tokenFile as string,
            name: options.name,
            log,
            fetch,
            onTable: (table) => this.publish(table),
            onRefused: (refused) => this.refuse(refused),
            onWord: (word) => this.fleet.release(word),
            report: () => this.report(),
            keepsTable: () => this.onDisk.inventory !== '',
          })
    this.routesFile =
      options.routes === null
        ? null
        : new RoutesFile(
            options.routes,
            (table) => this.publish(this.renumbered(table)),
            (message) => this.problem('routes', message),
          )
    this.admin =
      options.admin === null
        ? null
        : new Admin({
            options,
            status: () => this.status(),
            metrics: () => this.fleet.metrics(),
            sessions: async () => (await this.fleet.sessions(SESSIONS_PATIENCE_MS)).sessions,
            replaceProcesses: () => this.fleet.replaceOneByOne(),
            problem: (key, message) => this.problem(key, message),
          })
  }

  async start(): Promise<void> {
    await this.makeCertificate()
    const stored = (await this.file?.read()) ?? null
    if (stored !== null && 'unusable' in stored)
      this.problem('state', `the stored table is not used: ${stored.unusable}`)
    else if (stored !== null) {
      this.table = stored
      this.onDisk = { inventory: stored.inventory, version: stored.version }
    }
    await this.routesFile?.start()
    await this.admin?.start()
    await this.waitForPort()
    this.checks.watch(this.table)
    const first = this.table
    this.due = first
    this.fleet.start(first, await this.ports.usable(ownPorts(first)), this.checks.health)
    this.link?.start()
    this.sessionTimer = setInterval(async () => {
      this.counted = await this.fleet.sessions(500)
    }, COUNT_SESSIONS_EVERY_MS)
    this.portTimer = setInterval(() => {
      if (this.ports.takenPorts.length > 0) void this.distribute()
    }, TAKEN_PORT_RETRY_MS)
  }

  private async waitForPort(): Promise<void> {
    const { listen } = this.options
    if (!('host' in listen) || listen.port === 0) return
    const error = await waitForPort(listen.host, listen.port)
    if (error === null) return
    this.giveUp(`cannot listen: ${error.message}; choose another with --listen or COPPICE_ROUTER_LISTEN`)
  }

  private async makeCertificate(): Promise<void> {
    const { tls, stateDir } = this.options
    if (tls === null || !('selfSigned' in tls)) return
    const made = await selfSigned(join(stateDir as string, 'tls'), tls.selfSigned, Date.now())
    if ('unwritten' in made) this.problem('certificate', `the self-signed one cannot be kept: ${made.unwritten}`)
    this.options.tls = made
  }

  /** Signs off, lets the requests in flight end, ends. */
  stop(): Promise<void> {
    this.stopping ??= (async () => {
      this.routesFile?.stop()
      this.checks.stop()
      if (this.portTimer !== null) clearInterval(this.portTimer)
      if (this.sessionTimer !== null) clearInterval(this.sessionTimer)
      await Promise.all([this.link?.stop(), this.fleet.stop()])
      await this.admin?.stop()
    })()
    return this.stopping
  }

  replaceProcesses(): Promise<string | null> {
    return this.fleet.replaceOneByOne()
  }

  // ---- tables ----

  private publish(table: RouteTable): void {
    if (this.stopping !== null) return
    const current = this.table
    // Within one inventory versions only grow; anything else is an answer that was overtaken.
    if (table.inventory === current.inventory && table.version <= current.version && current !== NO_ROUTES) return
    this.table = table
    this.draining = new Set(
      table.apps.flatMap((app) => app.endpoints.filter((e) => e.state === 'draining').map((e) => e.instance)),
    )
    this.log.info({ inventory: table.inventory, version: table.version, apps: table.apps.length }, 'route table')
    this.rebalances.keepOnly(
      new Set(table.apps.flatMap((app) => (app.rebalance === null ? [] : [`${app.app}/${app.rebalance.epoch}`]))),
    )
    this.checks.watch(table)
    // First to disk: a router that is killed and comes back with the table before would show its clients an old version
    // after the new one (R3.4). A disk that hangs must not keep traffic at instances that have gone, though.
    void Promise.race([this.keep(table), sleep(DISK_PATIENCE_MS, undefined, { ref: false })]).then(() => {
      // At the start the newest may be due before those that came shortly before it.
      if (this.due !== this.table) this.due = table
      return this.distribute()
    })
  }

  private async distribute(): Promise<void> {
    const table = this.due
    const ports = await this.ports.usable(ownPorts(table))
    // Overtaken by a later one, which brings its own ports.
    if (this.due === table) this.fleet.publish(table, ports, this.link?.givesWord ?? false)
  }

  /** It goes on with the last one; whoever published this must not wait for it (D32). */
  private refuse(refused: NonNullable<RouterReport['refused']>): void {
    this.refused = { ...refused, reason: refused.reason.slice(0, 1000) }
    const which = refused.version === null ? 'the published table' : `table ${refused.version}`
    this.problem('table', `${which} cannot be applied here, the last one stays in force: ${refused.reason}`)
    this.link?.reportNow()
  }

  /** A file that people write carries what version they like; each change of it is a new one here. */
  private renumbered(table: RouteTable): RouteTable {
    return { ...table, inventory: 'file', version: this.table.inventory === 'file' ? this.table.version + 1 : 1 }
  }

  private async keep(table: RouteTable): Promise<void> {
    try {
      await this.file?.write(table)
      this.problem('state', null)
    } catch (error) {
      // Not acknowledged then: after a restart this router would serve the table before.
      this.problem('state', `the table cannot be stored: ${(error as Error).message}`)
      setTimeout(() => {
        if (this.table === table) void this.keep(table)
      }, 1000).unref()
      return
    }
    if (this.table === table) {
      this.onDisk = { inventory: table.inventory, version: table.version }
      this.acknowledge()
    }
  }

  private acknowledge(): void {
    const { inventory, version } = this.table
    const everywhere = this.fleet.appliedEverywhere(inventory, version)
    if (everywhere) this.checks.inForce()
    if (everywhere && !this.announced) this.announce()
    if (this.acknowledged.inventory === inventory && this.acknowledged.version === version) return
    if (this.onDisk.inventory !== inventory || this.onDisk.version !== version) return
    if (!everywhere) return
    this.acknowledged = { inventory, version }
    this.refused = null
    this.problem('table', null)
    this.link?.reportNow()
  }

  // ---- what the processes tell ----

  private listening(port: number): void {
    this.port = port
    this.problem('listen', null)
  }

  /** One line that tells supervisors and tests where the router is. */
  private announce(): void {
    if (this.port === 0) return
    this.announced = true
    this.log.info(
      { event: 'listening', address: this.address(), admin: this.admin?.address() ?? null },
      'the router listens',
    )
  }

  private healthChanged(health: Health): void {
    const well = Object.values(health).every((instances) => instances.length === 0)
    this.log.warn(health, well ? 'all instances are well again' : 'instances are dead, given up or busy')
    this.fleet.publishHealth(health)
    this.link?.reportNow()
  }

  private heard(beat: Beat): void {
    this.checks.heard(beat.heard)
    this.checks.waiting(beat.silentMs)
    this.checks.answeredBadly(beat.failing)
    if (this.draining.size === 0) return
    const { inFlight } = this.fleet.inFlight()
    for (const instance of this.draining) {
      if ((inFlight[instance] ?? 0) > 0) continue
      this.draining.delete(instance)
      this.link?.reportNow()
    }
  }

  private problem(key: string, message: string | null): void {
    if (key === 'listen' && message !== null && !this.announced) this.giveUp(message)
    if (message === null) this.problems.delete(key)
    else if (this.problems.get(key) !== message) {
      this.problems.set(key, message)
      this.log.error({ key }, message)
    }
  }

  // ---- what others ask ----

  private address(): string {
    const { listen, tls } = this.options
    const host = 'host' in listen ? listen.host : '127.0.0.1'
    return `${tls === null ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${this.port}`
  }

  private report(): RouterReport {
    return {
      protocol: PROTOCOL,
      router: this.options.name,
      incarnation: this.incarnation,
      inventory: this.acknowledged.inventory,
      version: this.acknowledged.version,
      holding: this.fleet.holding,
      ...this.fleet.inFlight(),
      sessions: this.counted.sessions,
      sessionRanks: this.counted.ranks,
      rebalanced: this.rebalances.counts(),
      processes: this.fleet.processes,
      address: this.address(),
      takenPorts: this.ports.takenPorts,
      down: this.down(),
      silent: this.checks.silent,
      refused: this.refused,
      leaving: false,
    }
  }

  private down(): string[] {
    const { dead, givenUp } = this.checks.health
    return [...dead, ...givenUp].sort()
  }

  private status(): RouterStatus {
    return {
      name: this.options.name,
      incarnation: this.incarnation,
      address: this.address(),
      ready: this.port !== 0 && this.stopping === null && (this.link === null || this.link.synchronised),
      stale: this.link?.stale ?? false,
      table: this.table,
      acknowledged: this.acknowledged,
      holding: this.fleet.holding,
      processes: this.fleet.processes,
      down: this.down(),
      busy: this.checks.health.busy,
      ...this.fleet.inFlight(),
      problems: Object.fromEntries(this.problems),
    }
  }
}

const ownPorts = (table: RouteTable): number[] => table.apps.flatMap((app) => (app.port === null ? [] : [app.port]))
