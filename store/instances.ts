/** Instances: what sagas want of them (desired, role) and what the worker saw of them (observed). */
import type { Selectable } from 'kysely'
import { keptLines } from '../domain/kept-lines.ts'
import type { Instance } from '../domain/records.ts'
import type { ObservedState } from '../domain/states.ts'
import type { InstanceRecord, ObservedPatch } from '../runtime/contracts.ts'
import { type Db, type StoreContext, write } from './context.ts'
import { addEvent } from './events.ts'
import { restPorts } from './ports.ts'
import { isUp, raiseRouteVersion } from './routes.ts'
import { toInstance } from './rows.ts'
import type { Schema } from './schema.ts'
import { meterChange, meterEnd } from './usage.ts'

export class InstanceRows {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  async ofApp(app: string): Promise<Instance[]> {
    const rows = await this.#context.db
      .selectFrom('instances')
      .selectAll()
      .where('app', '=', app)
      .orderBy('slot')
      .orderBy('created_at')
      .execute()
    return rows.map(toInstance)
  }

  async get(id: string): Promise<Instance | null> {
    const row = await this.#context.db.selectFrom('instances').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? null : toInstance(row)
  }

  async records(): Promise<InstanceRecord[]> {
    return (await this.#select().execute()).map(toRecord)
  }

  async record(id: string): Promise<InstanceRecord | null> {
    const row = await this.#select().where('instances.id', '=', id).executeTakeFirst()
    return row === undefined ? null : toRecord(row)
  }

  /** Writes what the worker saw. What routers go by (the address, whether it is up) goes out with a new table. */
  observe(id: string, patch: ObservedPatch): Promise<void> {
    return write(this.#context, async (tx) => {
      const row = await tx.selectFrom('instances').selectAll().where('id', '=', id).executeTakeFirst()
      if (row === undefined) return
      const observed = patch.observed ?? (row.observed as ObservedState)
      await tx
        .updateTable('instances')
        .set({
          observed,
          metered_at: await meterChange(this.#context, tx, row, observed),
          ...(patch.address !== undefined && { address: patch.address }),
          ...(patch.pid !== undefined && { pid: patch.pid }),
          ...(patch.crashes !== undefined && { crashes: patch.crashes }),
          ...(patch.restartAt !== undefined && { restart_at: patch.restartAt }),
          ...(patch.message !== undefined && { message: patch.message }),
          ...(patch.startedAt !== undefined && { started_at: patch.startedAt }),
          ...(patch.logLines !== undefined && { log_lines: JSON.stringify(keptLines(patch.logLines)) }),
        })
        .where('id', '=', id)
        .execute()
      const moved = patch.address !== undefined && patch.address !== null && patch.address !== row.address
      const changed = moved || isUp({ observed }) !== isUp(row)
      if (changed && row.role !== 'standby') await raiseRouteVersion(tx, row.app)
    })
  }

  /** Lets all that are held back after a crash begin anew; the worker calls it at its start. */
  async beginAnew(): Promise<void> {
    await write(this.#context, (tx) => beginAnew(this.#context, tx))
  }

  /** Those that have been let begin anew, and that nobody has started yet. */
  async begunAnew(): Promise<string[]> {
    const rows = await this.#context.db
      .selectFrom('instances')
      .select('id')
      .where('crashes', '=', 0)
      .where('restart_at', 'is not', null)
      .where('observed', 'in', HELD_BACK)
      .execute()
    return rows.map(({ id }) => id)
  }

  async retire(id: string): Promise<void> {
    await write(this.#context, (tx) =>
      tx.updateTable('instances').set({ desired: 'retired' }).where('id', '=', id).execute(),
    )
  }

  /**
   * Takes a retired instance of which nothing is left out of the inventory. One whose operation is still open stays:
   * that operation's end takes it out, together with the table that no longer has it.
   */
  forget(id: string): Promise<void> {
    return write(this.#context, async (tx) => {
      const row = await tx.selectFrom('instances').selectAll().where('id', '=', id).executeTakeFirst()
      if (row === undefined || row.desired !== 'retired') return
      const owned = await tx.selectFrom('apps').select('operation').where('name', '=', row.app).executeTakeFirst()
      if (owned?.operation != null) return
      await deleteInstances(this.#context, tx, row.app, [id])
    })
  }

  async event(event: {
    app: string
    instance: string
    kind: string
    message: string
    logLines?: string[]
  }): Promise<void> {
    await write(this.#context, (tx) =>
      addEvent(this.#context, tx, {
        app: event.app,
        instance: event.instance,
        kind: event.kind,
        message: event.message,
        data: event.logLines === undefined ? null : { logLines: keptLines(event.logLines) },
      }),
    )
  }

  #select() {
    return this.#context.db
      .selectFrom('instances')
      .leftJoin('operations', 'operations.id', 'instances.operation')
      .leftJoin('apps', 'apps.name', 'instances.app')
      .leftJoin('deployments', 'deployments.id', 'instances.deployment')
      .selectAll('instances')
      .select(['operations.state as operation_state', 'apps.operation as app_operation', 'deployments.health_path'])
  }
}

type JoinedRow = Selectable<Schema['instances']> & {
  operation_state: string | null
  app_operation: string | null
  health_path: string | null
}

function toRecord(row: JoinedRow): InstanceRecord {
  return {
    id: row.id,
    app: row.app,
    slot: row.slot,
    deployment: row.deployment,
    operation: row.operation,
    // An open operation on the app may be about to start, drain or stop it: it is that operation's business.
    operationOpen:
      row.app_operation !== null || row.operation_state === 'REQUESTED' || row.operation_state === 'RUNNING',
    desired: row.desired as InstanceRecord['desired'],
    role: row.role as InstanceRecord['role'],
    observed: row.observed as InstanceRecord['observed'],
    crashes: row.crashes,
    restartAt: row.restart_at,
    address: row.address,
    healthPath: row.health_path,
  }
}

export async function servingInstances(tx: Db, app: string): Promise<Instance[]> {
  const rows = await tx
    .selectFrom('instances')
    .selectAll()
    .where('app', '=', app)
    .where('role', '=', 'serving')
    .orderBy('slot')
    .execute()
  return rows.map(toInstance)
}

export async function insertStandby(
  context: StoreContext,
  tx: Db,
  instances: Array<{ id: string; slot: number }>,
  of: { app: string; deployment: string; operation: string; mode: string; compute_size: string },
): Promise<void> {
  for (const { id, slot } of instances)
    await tx
      .insertInto('instances')
      .values({
        id,
        slot,
        ...of,
        desired: 'running',
        role: 'standby',
        observed: 'pending',
        address: null,
        pid: null,
        crashes: 0,
        restart_at: null,
        message: null,
        log_lines: '[]',
        created_at: context.now(),
        started_at: null,
        metered_at: null,
      })
      .execute()
}

/** Takes rows out; when routers knew them, with a new version, at which their ports begin to rest. */
export async function deleteInstances(
  context: StoreContext,
  tx: Db,
  app: string,
  ids: string[],
): Promise<number | null> {
  if (ids.length === 0) return null
  await meterEnd(context, tx, ids)
  const routed = await tx
    .selectFrom('instances')
    .select('id')
    .where('id', 'in', ids)
    .where('role', '!=', 'standby')
    .execute()
  await tx.deleteFrom('instances').where('id', 'in', ids).execute()
  if (routed.length === 0) {
    await restPorts(tx, ids, 0)
    return null
  }
  const version = await raiseRouteVersion(tx, app)
  await restPorts(tx, ids, version)
  return version
}

/** One that runs and is due for a start is ailing: the time that it is given to get well is its own. */
const HELD_BACK: ObservedState[] = ['crashed', 'crashLoop']

/**
 * What kept instances from running may have been mended: their crashes are forgotten and they are due now (R12.9). A
 * restart that is due without a crash says so to the worker.
 */
export async function beginAnew(context: StoreContext, tx: Db, app?: string): Promise<void> {
  let update = tx
    .updateTable('instances')
    .set({ crashes: 0, restart_at: context.now() })
    .where('restart_at', 'is not', null)
    .where('observed', 'in', HELD_BACK)
  if (app !== undefined) update = update.where('app', '=', app)
  await update.execute()
}
