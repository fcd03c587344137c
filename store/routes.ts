/**
 * The route table is a view of the inventory: whatever changes who serves raises the version in the same transaction,
 * so a table of a version can only be one table (DESIGN D7).
 */
import { createHash } from 'node:crypto'
import { CoppiceError } from '../domain/errors.ts'
import { type AppRoute, PROTOCOL, type RouteTable } from '../domain/route-table.ts'
import { getApp } from './apps.ts'
import { type Db, parseJson, read, type StoreContext, write } from './context.ts'
import type { Schema } from './schema.ts'

const VERSION = 'route_version'
/** What the last tables were made with, beside what is in the inventory. */
const SETTINGS = 'route_settings'

export async function routeVersion(tx: Db): Promise<number> {
  const row = await tx.selectFrom('meta').select('value').where('key', '=', VERSION).executeTakeFirstOrThrow()
  return Number(row.value)
}

/** Gives the next version to a change of `app`'s routes; belongs into the transaction of that change. */
export async function raiseRouteVersion(tx: Db, app: string): Promise<number> {
  const version = (await routeVersion(tx)) + 1
  await tx
    .updateTable('meta')
    .set({ value: String(version) })
    .where('key', '=', VERSION)
    .execute()
  await tx.updateTable('apps').set({ route_version: version }).where('name', '=', app).execute()
  return version
}

export type HostOptions = {
  /** Domains under which every app has a host name, e.g. `['localhost']` → `hello.localhost`. */
  domains: string[]
}

export class Routes {
  readonly #context: StoreContext
  readonly #drainTimeoutMs: number
  /** By the ids of the apps in the last table. */
  #namingDigests = new Map<string, string>()

  constructor(context: StoreContext, options: { drainTimeoutMs: number }) {
    this.#context = context
    this.#drainTimeoutMs = options.drainTimeoutMs
  }

  version(): Promise<number> {
    return routeVersion(this.#context.db)
  }

  /**
   * To be called before tables are given out. Settings stand in every route: when they are not those of the last start,
   * that is a change of all routes, or routers would take the new tables for ones that they have. So is another key to make
   * naming keys from.
   */
  apply({ domains }: HostOptions): Promise<'changed' | 'same'> {
    const value = JSON.stringify([domains, this.#drainTimeoutMs, digestOf(this.#namingKey(''))])
    return write(this.#context, async (tx) => {
      const last = await tx.selectFrom('meta').select('value').where('key', '=', SETTINGS).executeTakeFirst()
      if (last?.value === value) return 'same'
      await tx
        .insertInto('meta')
        .values({ key: SETTINGS, value })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
        .execute()
      for (const { name } of await tx.selectFrom('apps').select('name').execute()) await raiseRouteVersion(tx, name)
      return 'changed'
    })
  }

  /** The current table; what a router gets. */
  table(options: HostOptions): Promise<RouteTable> {
    return read(this.#context, async (tx) => {
      const version = await routeVersion(tx)
      const apps = await tx.selectFrom('apps').selectAll().orderBy('name').execute()
      const instances = await tx
        .selectFrom('instances')
        .select(['id', 'app', 'slot', 'address', 'role', 'deployment', 'observed'])
        .where('role', 'in', ['serving', 'draining'])
        .where('address', 'is not', null)
        .orderBy('slot')
        .execute()
      const byApp = Map.groupBy(instances, (instance) => instance.app)
      const known = this.#namingDigests
      const digests = new Map(apps.map(({ id }) => [id, known.get(id) ?? digestOf(this.#namingKey(id))]))
      this.#namingDigests = digests
      return {
        protocol: PROTOCOL,
        inventory: this.#context.inventory,
        version,
        apps: apps.map(
          (app): AppRoute => ({
            app: app.name,
            hostnames: options.domains.map((domain) => `${app.name}.${domain}`),
            port: app.port,
            version: app.route_version,
            affinity: app.mode === 'scaled',
            status: statusOf(app),
            drainTimeoutMs: this.#drainTimeoutMs,
            held: false,
            healthPath: app.health_path,
            silenceMs: app.silence_ms,
            rebalance: rebalanceOf(app.rebalance),
            namingDigest: digests.get(app.id) ?? null,
            endpoints: (byApp.get(app.name) ?? []).map((instance) => ({
              instance: instance.id,
              slot: instance.slot,
              address: instance.address as string,
              state: instance.role as 'serving' | 'draining',
              deployment: instance.deployment,
              up: isUp(instance),
            })),
          }),
        ),
      }
    })
  }

  /**
   * With this in a request to the app, the routers say which instance answers. It is of this app, not of its name: it ends
   * when the app is deleted. Nothing is kept of it.
   *
   * @throws CoppiceError NotFound
   */
  async namingKey(name: string): Promise<string> {
    const app = await getApp(this.#context.db, name)
    if (app === null) throw new CoppiceError('NotFound', `Resource apps.App not found: ${name}`)
    return this.#namingKey(app.id)
  }

  #namingKey(id: string): string {
    return this.#context.seal.derive(`naming/${id}`).toString('base64url')
  }
}

const digestOf = (key: string): string => createHash('sha256').update(key).digest('hex')

/** R12.2: what the worker does not see running is dead to the routers, whatever its port still answers. */
export const isUp = ({ observed }: { observed: string }): boolean => observed === 'running'

function rebalanceOf(text: string | null): AppRoute['rebalance'] {
  const last = parseJson<NonNullable<AppRoute['rebalance']>>(text)
  // Stores of before slots were kept have none, and an old rebalance moves nobody any more.
  return last && { epoch: last.epoch, slots: last.slots ?? [], shed: last.shed }
}

function statusOf(app: Schema['apps']): AppRoute['status'] {
  if (app.compute_state === 'DELETING') return 'deleting'
  if (app.compute_state === 'STARTING') return 'starting'
  if (app.desired === 'stopped') return 'stopped'
  return app.active_deployment === null ? 'starting' : 'running'
}
