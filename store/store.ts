/**
 * The inventory: the truth about what should be (DESIGN D4). One SQLite file in the data directory, opened by the
 * worker and the control plane at the same time.
 */
import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { DEFAULTS } from '../domain/limits.ts'
import type { App } from '../domain/records.ts'
import { Admissions } from './admissions.ts'
import { AppSettingsStore } from './app-settings.ts'
import { Apps } from './apps.ts'
import { BACKUP_BOUNDS, type BackupBounds, backUpInventory } from './backups.ts'
import type { StoreContext } from './context.ts'
import { Deployments } from './deployments.ts'
import { type Duplicate, duplicateApp } from './duplicate.ts'
import { Events } from './events.ts'
import { homeIdOf } from './home-id.ts'
import { InstanceRows } from './instances.ts'
import { migrate } from './migrations.ts'
import { Operations } from './operations.ts'
import { Pins } from './pins.ts'
import { type PortRange, Ports } from './ports.ts'
import { Routers } from './routers.ts'
import { Routes } from './routes.ts'
import type { Schema } from './schema.ts'
import { openSeal } from './seal.ts'
import { Secrets } from './secrets.ts'
import { Sessions } from './sessions.ts'
import { openSqlite } from './sqlite.ts'
import { Tokens } from './tokens.ts'
import { Transitions } from './transitions.ts'
import { createMeter } from './usage.ts'
import { ChangeWatch } from './watch.ts'
import { type ComputeSizes, Workspace, type WorkspaceSettings } from './workspace.ts'

export type StoreOptions = {
  /** The data directory; `inventory.db` and `secret.key` lie in it. */
  home: string
  /** Ports for instances; below the kernel's ephemeral range (32768 on Linux) so that no client socket takes one. */
  instancePorts?: PortRange
  /** Ports on which routers serve one app each. */
  appPorts?: PortRange
  /** Asked before an app gets a port; default: every port is free as far as the store knows. */
  isPortFree?: (port: number) => Promise<boolean>
  /** How long an instance that leaves may finish what it has in flight, in ms. */
  drainTimeoutMs?: number
  /** Settings of the workspace while no admin has changed them (R2). */
  workspace?: Partial<WorkspaceSettings>
  /** What an instance of each compute size may take; default: the product's sizes. */
  computeSizes?: ComputeSizes
  routerLeaseMs?: number
  routerLeaseMarginMs?: number
  /** What stays of the backups in the data directory (R14.4). */
  backups?: BackupBounds
  /** How long to wait for another process that writes, in ms; default 10 s. For tests. */
  lockPatienceMs?: number
  /** For tests. */
  migrations?: readonly string[]
  /** Unix ms; for tests. */
  now?: () => number
  /** Monotonic ms; for tests. */
  elapsed?: () => number
  newId?: () => string
  /** 0 ≤ x < 1; for tests. */
  random?: () => number
}

export type Store = {
  inventory: string
  /** Marks the processes of this data directory. */
  homeId: string
  apps: Apps
  appSettings: AppSettingsStore
  deployments: Deployments
  operations: Operations
  admissions: Admissions
  transitions: Transitions
  sessions: Sessions
  /** @throws CoppiceError NotFound, AlreadyExists, PreviewDisabled, LimitExceeded */
  duplicate(duplicate: Duplicate): Promise<App>
  workspace: Workspace
  /** Counts the time that instances have run so far; the worker calls it every few seconds (R1.3). */
  meter(): Promise<void>
  secrets: Secrets
  tokens: Tokens
  instances: InstanceRows
  routes: Routes
  routers: Routers
  ports: Ports
  pins: Pins
  events: Events
  /** Tells when anything in the inventory changed, whoever changed it. */
  watch: ChangeWatch
  close(): Promise<void>
}

/** @throws CoppiceError StoreNewer */
export async function openStore(options: StoreOptions): Promise<Store> {
  mkdirSync(options.home, { recursive: true, mode: 0o700 })
  const file = join(options.home, 'inventory.db')
  const newId = options.newId ?? randomUUID
  let inventory = ''
  let homeId = ''
  let isSealed = false
  const database = openSqlite<Schema>({
    file,
    patienceMs: options.lockPatienceMs,
    prepare: (raw) => {
      migrate(raw, {
        migrations: options.migrations,
        backUp: (from) =>
          backUpInventory(options.home, {
            name: `inventory-v${from}`,
            now: (options.now ?? Date.now)(),
            bounds: options.backups ?? BACKUP_BOUNDS,
          }),
      })
      homeId = homeIdOf(raw, options.home, file)
      inventory = identityOf(raw, newId)
      isSealed = sealsAnything(raw)
    },
  })
  const context: StoreContext = {
    db: database.reader,
    writing: database.write,
    now: options.now ?? Date.now,
    elapsed: options.elapsed ?? (() => performance.now()),
    newId,
    seal: openSeal(join(options.home, 'secret.key'), isSealed),
    inventory,
  }
  const drainTimeoutMs = options.drainTimeoutMs ?? DEFAULTS.drainTimeoutMs
  const settings = {
    horizontalScaling: false,
    maxScaledApps: DEFAULTS.maxScaledApps,
    maxInstancesPerApp: DEFAULTS.maxInstancesPerApp,
    ...options.workspace,
  }
  const workspace = new Workspace(context, settings, options.computeSizes)
  const secrets = new Secrets(context)
  const operations = new Operations(context)
  const apps = new Apps(context, workspace, {
    range: options.appPorts ?? { first: 8100, last: 8299 },
    isPortFree: options.isPortFree ?? (async () => true),
  })
  const watch = new ChangeWatch(new DatabaseSync(file, { readOnly: true }))
  return {
    inventory,
    homeId,
    apps,
    appSettings: new AppSettingsStore(context),
    deployments: new Deployments(context),
    operations,
    admissions: new Admissions(context, { apps, workspace }, { drainTimeoutMs }),
    transitions: new Transitions(context, operations),
    workspace,
    secrets,
    tokens: new Tokens(context),
    meter: createMeter(context),
    sessions: new Sessions(context),
    duplicate: (duplicate) => duplicateApp(context, { apps, secrets }, duplicate),
    instances: new InstanceRows(context),
    routes: new Routes(context, { drainTimeoutMs }),
    routers: new Routers(context, {
      leaseMs: options.routerLeaseMs ?? DEFAULTS.routerLeaseMs,
      leaseMarginMs: options.routerLeaseMarginMs ?? DEFAULTS.routerLeaseMarginMs,
    }),
    ports: new Ports(context, options.instancePorts ?? { first: 20_000, last: 29_999 }, options.random ?? Math.random),
    pins: new Pins(context),
    events: new Events(context),
    watch,
    async close() {
      watch.close()
      await database.close()
    },
  }
}

/** Whether something in it can be read with the key of the secrets alone. */
function sealsAnything(raw: DatabaseSync): boolean {
  const query =
    'select exists (select 1 from secrets) or exists (select 1 from deployments where env is not null) as it'
  return (raw.prepare(query).get() as { it: number }).it === 1
}

/** What this inventory is told from others by; made with it. */
function identityOf(raw: DatabaseSync, newId: () => string): string {
  const read = () =>
    raw.prepare(`select value from meta where key = 'inventory'`).get() as { value: string } | undefined
  if (read() === undefined)
    raw.prepare(`insert or ignore into meta (key, value) values ('inventory', ?), ('route_version', '0')`).run(newId())
  return (read() as { value: string }).value
}
