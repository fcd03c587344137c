import { CoppiceError } from '../domain/errors.ts'
import { DEFAULT_HEALTH, type HealthCheck } from '../domain/health-check.ts'
import type { App } from '../domain/records.ts'
import type { AppMode } from '../domain/states.ts'
import { type Db, parseJson, type StoreContext, write } from './context.ts'
import { addEvent } from './events.ts'
import type { PortRange } from './ports.ts'
import { raiseRouteVersion } from './routes.ts'
import { fromHealth, toApp } from './rows.ts'
import type { Workspace } from './workspace.ts'

export type NewApp = {
  name: string
  description?: string
  mode: AppMode
  /** 1 for a standard app. */
  instances: number
  computeSize?: string
  /** Default: standard apps have them, scaled ones do not (R3.2). */
  preinstalled?: boolean
  /** `stopped` is the API's `no_compute`. */
  desired?: 'running' | 'stopped'
  defaultSourceCodePath?: string | null
  /** Default: `DEFAULT_HEALTH`, for what is left out. */
  health?: Partial<HealthCheck>
  creator: string
  /** From `offerPort`; taken unless another app has taken it meanwhile. */
  port?: number | null
}

export type LastUpdate = { operation: string | null }

export type AppPorts = {
  /** Where apps get the port on which routers serve them alone. */
  range: PortRange
  /** Whether nobody on this machine listens on a port. */
  isPortFree: (port: number) => Promise<boolean>
}

export class Apps {
  readonly #context: StoreContext
  readonly #workspace: Workspace
  readonly #ports: PortRange
  readonly #isPortFree: (port: number) => Promise<boolean>

  constructor(context: StoreContext, workspace: Workspace, options: AppPorts) {
    this.#context = context
    this.#workspace = workspace
    this.#ports = options.range
    this.#isPortFree = options.isPortFree
  }

  async get(name: string): Promise<App | null> {
    return getApp(this.#context.db, name)
  }

  async list(options: { after?: string; limit?: number } = {}): Promise<App[]> {
    let query = this.#context.db.selectFrom('apps').selectAll().orderBy('name')
    if (options.after !== undefined) query = query.where('name', '>', options.after)
    return (await query.limit(options.limit ?? 1000).execute()).map(toApp)
  }

  /** @throws CoppiceError AlreadyExists, PreviewDisabled, LimitExceeded */
  async create(app: NewApp): Promise<App> {
    const port = await this.offerPort()
    return write(this.#context, (tx) => this.createIn(tx, { ...app, port }))
  }

  /**
   * A port for a new app that no other app has and on which nobody foreign listens now. Asked before a transaction,
   * because the kernel answers in its own time; null when all are taken.
   */
  async offerPort(): Promise<number | null> {
    const taken = await portsTaken(this.#context.db)
    for (let port = this.#ports.first; port <= this.#ports.last; port++)
      if (!taken.has(port) && (await this.#isPortFree(port))) return port
    return null
  }

  /** As `create`, within a larger transaction. */
  async createIn(tx: Db, app: NewApp): Promise<App> {
    if ((await getApp(tx, app.name)) !== null)
      throw new CoppiceError('AlreadyExists', `An app with the same name already exists: ${app.name}`)
    if (app.mode === 'scaled') await this.#workspace.takePlace(tx, app.name)
    await this.#workspace.withinInstanceLimit(tx, app.name, app.instances)
    const now = this.#context.now()
    const running = (app.desired ?? 'running') === 'running'
    await tx
      .insertInto('apps')
      .values({
        name: app.name,
        id: this.#context.newId(),
        description: app.description ?? '',
        mode: app.mode,
        instances: app.instances,
        compute_size: app.computeSize ?? 'MEDIUM',
        place: app.mode === 'scaled' ? 1 : 0,
        preinstalled: (app.preinstalled ?? app.mode === 'standard') ? 1 : 0,
        ...computeRest(running ? 'running' : 'stopped'),
        desired: running ? 'running' : 'stopped',
        active_deployment: null,
        pending_deployment: null,
        operation: null,
        default_source_code_path: app.defaultSourceCodePath ?? null,
        ...fromHealth({ ...DEFAULT_HEALTH, ...app.health }),
        port: await this.#portFor(tx, app.port ?? null),
        rebalance: null,
        last_update: null,
        route_version: 0,
        created_at: now,
        updated_at: now,
        creator: app.creator,
      })
      .execute()
    await raiseRouteVersion(tx, app.name)
    await addEvent(this.#context, tx, { app: app.name, kind: 'app', message: `App ${app.name} was created` })
    return (await getApp(tx, app.name)) as App
  }

  /** Null when the app was never updated. */
  lastUpdate(name: string): Promise<LastUpdate | null> {
    return lastUpdateIn(this.#context.db, name)
  }

  async #portFor(tx: Db, offered: number | null): Promise<number | null> {
    const taken = await portsTaken(tx)
    if (offered !== null && !taken.has(offered)) return offered
    for (let port = (offered ?? this.#ports.first) + 1; port <= this.#ports.last; port++)
      if (!taken.has(port)) return port
    return null
  }
}

const portsTaken = async (tx: Db): Promise<Set<number | null>> =>
  new Set((await tx.selectFrom('apps').select('port').execute()).map((row) => row.port))

/** In the transaction that writes its operation down, so that neither is there without the other. */
export async function noteUpdateIn(tx: Db, name: string, update: LastUpdate): Promise<void> {
  await tx
    .updateTable('apps')
    .set({ last_update: JSON.stringify(update) })
    .where('name', '=', name)
    .execute()
}

export async function lastUpdateIn(tx: Db, name: string): Promise<LastUpdate | null> {
  const row = await tx.selectFrom('apps').select('last_update').where('name', '=', name).executeTakeFirst()
  return parseJson<LastUpdate>(row?.last_update ?? null)
}

export async function getApp(tx: Db, name: string): Promise<App | null> {
  const row = await tx.selectFrom('apps').selectAll().where('name', '=', name).executeTakeFirst()
  return row === undefined ? null : toApp(row)
}

/** The compute state of an app on which no operation runs. */
export const computeRest = (desired: 'running' | 'stopped'): { compute_state: string; compute_message: string } =>
  desired === 'running'
    ? { compute_state: 'ACTIVE', compute_message: 'App compute is active.' }
    : { compute_state: 'STOPPED', compute_message: 'App compute is stopped.' }
