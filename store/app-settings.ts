/** The settings of an app: what changes without any instance being started for it (`AppSettings`). */
import { isDeepStrictEqual } from 'node:util'
import { CoppiceError } from '../domain/errors.ts'
import type { HealthCheck } from '../domain/health-check.ts'
import type { App, AppSettings, Operation } from '../domain/records.ts'
import type { AppMode } from '../domain/states.ts'
import { getApp, lastUpdateIn, noteUpdateIn } from './apps.ts'
import { type Db, type StoreContext, write } from './context.ts'
import { addEvent } from './events.ts'
import { getOperation } from './operations.ts'
import { raiseRouteVersion } from './routes.ts'
import { fromHealth, toDeployment } from './rows.ts'

export class AppSettingsStore {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  /**
   * Changes settings, all of them or none. A health check changes for what runs, in the route table, and for its next
   * instances; the libraries from its next deployment on.
   *
   * @param how.update they are an update through the API, which `lastUpdate` of the app names from here on, unless
   *   somebody may wait for one that still runs.
   * @throws CoppiceError NotFound; OperationInProgress when what runs sets a health check itself; InvalidState for a
   *   standard app that is to give up its libraries.
   */
  async set(name: string, settings: AppSettings, how: { update?: boolean } = {}): Promise<void> {
    await write(this.#context, async (tx) => {
      const app = await getApp(tx, name)
      if (app === null) throw new CoppiceError('NotFound', `Resource apps.App not found: ${name}`, { app: name })
      assertMaySet(app, app.mode, settings)
      const running = app.operation === null ? null : await getOperation(tx, app.operation)
      if (settings.health !== undefined && running !== null)
        await assertHealthStays(tx, app, { ...app.health, ...settings.health }, running)
      await applySettings(this.#context, tx, app, settings)
      if (settings.description !== undefined && running !== null) await outdateDescription(tx, running)
      if (!how.update) return
      const last = (await lastUpdateIn(tx, name))?.operation
      const awaited = last == null ? null : await getOperation(tx, last)
      if (awaited === null || awaited.endedAt !== null) await noteUpdateIn(tx, name, { operation: null })
    })
  }
}

/**
 * @param mode what the app will be when they take effect.
 * @throws CoppiceError InvalidState for a standard app that is to give up its libraries, which it always has (R5.4).
 */
export function assertMaySet(app: App, mode: AppMode, { preinstalled }: AppSettings): void {
  if (preinstalled === undefined || mode === 'scaled') return
  const words = app.mode === 'standard' ? 'is' : 'becomes'
  throw new CoppiceError(
    'InvalidState',
    `compatibility_flags: ${app.name} ${words} a standard app, which always has the pre-installed libraries; only a scaled app can opt out`,
    { field: 'compatibility_flags' },
  )
}

/** @throws CoppiceError OperationInProgress when what runs sets the health check itself, unless it is and stays what is wanted. */
async function assertHealthStays(tx: Db, app: App, wanted: HealthCheck, running: Operation): Promise<void> {
  const brought = await healthBrought(tx, app, running)
  if (brought === null || [brought, app.health].every((one) => isDeepStrictEqual(one, wanted))) return
  throw new CoppiceError(
    'OperationInProgress',
    `Cannot change the health check of app ${app.name}: ${running.type} (${running.id}) by ${running.startedBy} runs`,
    { operation: running.id, type: running.type, startedBy: running.startedBy },
  )
}

async function healthBrought(
  tx: Db,
  app: App,
  { change, deployment, settings }: Operation,
): Promise<HealthCheck | null> {
  if (settings?.health !== undefined) return { ...app.health, ...settings.health }
  const taking = change?.type === 'rollback' ? change.deployment : change?.type === 'deploy' ? deployment : null
  const row = await tx.selectFrom('deployments').selectAll().where('id', '=', taking).executeTakeFirst()
  return row === undefined ? null : toDeployment(row).health
}

/** The later word is the one that stays, not the one that an operation brings with it at its pivot. */
async function outdateDescription(tx: Db, { id, settings }: Operation): Promise<void> {
  if (settings?.description === undefined) return
  const { description: _, ...rest } = settings
  const columns = { settings: JSON.stringify(rest) }
  await tx.updateTable('operations').set(columns).where('id', '=', id).execute()
}

/** Whether it says nothing new. */
const isHealth = (app: App, change: Partial<HealthCheck>): boolean =>
  isDeepStrictEqual({ ...app.health, ...change }, app.health)

/** Within a transaction that has looked whether they may be set; refuses nothing. */
export async function applySettings(context: StoreContext, tx: Db, app: App, settings: AppSettings): Promise<void> {
  const { name } = app
  const { description, health, preinstalled } = settings
  const updated_at = context.now()
  const tell = (message: string) => addEvent(context, tx, { app: name, kind: 'app', message })
  const set = (columns: object) =>
    tx
      .updateTable('apps')
      .set({ ...columns, updated_at })
      .where('name', '=', name)
      .execute()
  if (description !== undefined && description !== app.description) await set({ description })
  if (preinstalled === false && app.preinstalled) {
    await set({ preinstalled: 0 })
    await tell(`App ${name} goes without the pre-installed libraries from its next deployment on`)
  }
  if (health === undefined || isHealth(app, health)) return
  const columns = fromHealth({ ...app.health, ...health })
  await set(columns)
  await tx
    .updateTable('deployments')
    .set({ ...columns, updated_at })
    .where('id', '=', app.activeDeployment)
    .execute()
  await raiseRouteVersion(tx, name)
  await tell(`The health check of ${name} was changed`)
}
