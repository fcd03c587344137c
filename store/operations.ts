/**
 * Operations: the records behind the sagas.
 *
 * REQUESTED (the API wrote it down, it owns the app) or nothing (started by hand) → admit → RUNNING/compensable →
 * commit, the pivot → RUNNING/committed → finish → SUCCEEDED. Before the pivot `abandon` ends it as FAILED or
 * CANCELLED. One that lost its workflow is taken over by a `repair`, which ends both.
 *
 * The fence: `apps.operation` names the operation that owns the app. Every write of a saga checks it in its own
 * transaction, so an activity that lives on after its operation lost the app changes nothing (DESIGN D4).
 */
import { sql, type Transaction } from 'kysely'
import { CoppiceError, cutMessage } from '../domain/errors.ts'
import { keptLines } from '../domain/kept-lines.ts'
import type { Operation, OperationFailure, Step } from '../domain/records.ts'
import type { OperationType } from '../domain/states.ts'
import { computeRest, getApp, type LastUpdate } from './apps.ts'
import { type Db, parseJson, read, type StoreContext, write } from './context.ts'
import { addEvent } from './events.ts'
import { fitting } from './fitting.ts'
import { toOperation, toStep } from './rows.ts'
import type { Schema } from './schema.ts'

export type StepRef = {
  operation: string
  /** Name of the step, unique within its operation, e.g. `start/2`. */
  step: string
  /** The step in plain words, e.g. `Start the instance in slot 2`. */
  words: string
}

export type OperationBounds = {
  /** The newest of each app. */
  perApp: number
  /** Of all apps together, deleted ones included. */
  total: number
  maxAgeMs: number
}

type ListOptions = { app?: string; limit?: number; before?: string }

/** What can be large of an operation. Tells the size from the header of the row; the text itself is not read. */
const BYTES = sql<number>`coalesce(octet_length(failure), 0) + coalesce(octet_length(change), 0) + coalesce(octet_length(plan), 0)
  + coalesce(octet_length(settings), 0) + 500`

/** Some ms of a transaction. */
const TRIM_AT_ONCE = 200

export class Operations {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  async get(id: string): Promise<Operation | null> {
    return getOperation(this.#context.db, id)
  }

  /** The one that a workflow of Temporal carries out. */
  async ofRun(app: string, runId: string): Promise<Operation | null> {
    const found = await this.#context.db
      .selectFrom('operations')
      .selectAll()
      .where('app', '=', app)
      .where('run_id', '=', runId)
      .executeTakeFirst()
    return found === undefined ? null : toOperation(found)
  }

  /** Newest first; `before` is the id of the operation after which the list goes on. */
  async list(options: ListOptions & { offset?: number } = {}): Promise<Operation[]> {
    const query = latest(this.#context.db, options).offset(options.offset ?? 0)
    return (await query.selectAll().execute()).map(toOperation)
  }

  /**
   * The same as far as they fit into `maxBytes`, and at least one; `more` says whether there are others. What does not fit
   * is not read: one can have the last lines of a log, and a thousand of those take long.
   */
  page(
    options: ListOptions & { limit: number; maxBytes: number },
  ): Promise<{ operations: Operation[]; more: boolean }> {
    return read(this.#context, async (tx) => {
      const sizes = await latest(tx, { ...options, limit: options.limit + 1 })
        .select(['id', BYTES.as('bytes')])
        .execute()
      const taken = sizes.slice(0, Math.min(options.limit, fitting(sizes, options.maxBytes))).map(({ id }) => id)
      // By their ids: whole rows would all be read to be sorted.
      const rows = await latest(tx, { limit: taken.length }).where('id', 'in', taken).selectAll().execute()
      return { operations: rows.map(toOperation), more: sizes.length > taken.length }
    })
  }

  async open(): Promise<Operation[]> {
    const rows = await this.#context.db
      .selectFrom('operations')
      .selectAll()
      .where('state', 'in', ['REQUESTED', 'RUNNING'])
      .execute()
    return rows.map(toOperation)
  }

  async steps(operation: string): Promise<Step[]> {
    const rows = await this.#context.db
      .selectFrom('operation_steps')
      .selectAll()
      .where('operation', '=', operation)
      .orderBy('seq')
      .execute()
    return rows.map(toStep)
  }

  /** What a step that is done returned; null when it is not done. */
  async outcome<T>(operation: string, step: string): Promise<T | null> {
    return (await outcomeOf<T>(this.#context.db, { operation, step }))?.outcome ?? null
  }

  async setRun(id: string, run: { workflowId: string; runId: string }): Promise<void> {
    await write(this.#context, (tx) =>
      tx
        .updateTable('operations')
        .set({ workflow_id: run.workflowId, run_id: run.runId })
        .where('id', '=', id)
        .execute(),
    )
  }

  /**
   * A step that is one transaction: its effect and its outcome are written together, and a rerun returns the outcome
   * without doing it again.
   *
   * @throws CoppiceError Fenced when the operation does not own the app any more.
   */
  async transactionStep<T>(ref: StepRef, effect: (tx: Transaction<Schema>) => Promise<T>): Promise<T> {
    return write(this.#context, async (tx) => {
      const done = await outcomeOf<T>(tx, ref)
      if (done !== null) return done.outcome
      await this.#fence(tx, ref.operation)
      await this.#begin(tx, ref)
      const outcome = await effect(tx)
      await this.#end(tx, ref, outcome)
      return outcome
    })
  }

  /** The beginning of a step whose effect lies outside of the store. Returns the outcome when it is done already. */
  async beginStep<T>(ref: StepRef): Promise<{ outcome: T } | null> {
    return write(this.#context, async (tx) => {
      const done = await outcomeOf<T>(tx, ref)
      if (done !== null) return done
      await this.#fence(tx, ref.operation)
      await this.#begin(tx, ref)
      return null
    })
  }

  /** The end of such a step; `effect` runs in the same transaction. */
  async endStep<T>(ref: StepRef, outcome: T, effect?: (tx: Transaction<Schema>) => Promise<void>): Promise<T> {
    return write(this.#context, async (tx) => {
      await this.#fence(tx, ref.operation)
      await effect?.(tx)
      await this.#end(tx, ref, outcome)
      return outcome
    })
  }

  /** What a step is at, or why it failed, for people. Changes nothing when the operation lost the app. */
  async noteStep(ref: StepRef, text: string, state: 'running' | 'failed' = 'running'): Promise<void> {
    const detail = cutMessage(text)
    await write(this.#context, async (tx) => {
      const operation = await getOperation(tx, ref.operation)
      if (operation === null || (await getApp(tx, operation.app))?.operation !== operation.id) return
      await tx
        .updateTable('operation_steps')
        .set({ detail, state, ended_at: state === 'failed' ? this.#context.now() : null })
        .where('operation', '=', ref.operation)
        .where('step', '=', ref.step)
        .where('state', '!=', 'done')
        .execute()
      await this.#stepEvent(tx, operation.app, ref, state, detail)
    })
  }

  /**
   * An undo may go on: the operation has not passed its pivot and `owner` owns the app. A workflow that was reset to
   * before a pivot which has taken place must not take serving instances away.
   *
   * @throws CoppiceError TooLateToCancel, Fenced
   */
  async assertUndoable(id: string, owner: string): Promise<void> {
    await read(this.#context, async (tx) => {
      await assertCompensable(tx, id)
      await this.#fence(tx, owner)
    })
  }

  /**
   * Removes what goes past the bounds, with its steps (R14.4). Open ones stay, and so does what a kept
   * deployment, an instance or the last update of an app names.
   *
   * @returns how many.
   */
  async trim(bounds: OperationBounds): Promise<number> {
    const past = await this.#past(bounds)
    let removed = 0
    // In pieces, because whoever else wants to write waits for each.
    for (let at = 0; at < past.length; at += TRIM_AT_ONCE)
      removed += await write(this.#context, async (tx) => {
        const named = await namedOperations(tx)
        const going = past.slice(at, at + TRIM_AT_ONCE).filter((id) => !named.has(id))
        if (going.length === 0) return 0
        await tx.deleteFrom('operation_steps').where('operation', 'in', going).execute()
        await tx.deleteFrom('operations').where('id', 'in', going).execute()
        return going.length
      })
    return removed
  }

  /** Those that have ended, which no operation ever leaves again, and go past the bounds. */
  async #past({ perApp, total, maxAgeMs }: OperationBounds): Promise<string[]> {
    const ranked = this.#context.db
      .selectFrom('operations')
      .select(['id', 'requested_at', 'ended_at'])
      .select(({ fn }) => [
        fn
          .agg<number>('row_number')
          .over((over) => over.partitionBy('app').orderBy('requested_at', 'desc').orderBy('id', 'desc'))
          .as('of_app'),
        fn
          .agg<number>('row_number')
          .over((over) => over.orderBy('requested_at', 'desc').orderBy('id', 'desc'))
          .as('of_all'),
      ])
      .as('ranked')
    const rows = await this.#context.db
      .selectFrom(ranked)
      .select('id')
      .where('ended_at', 'is not', null)
      .where((eb) =>
        eb.or([
          eb('of_app', '>', perApp),
          eb('of_all', '>', total),
          eb('requested_at', '<', this.#context.now() - maxAgeMs),
        ]),
      )
      .execute()
    return rows.map(({ id }) => id)
  }

  /** Ends an operation that was refused before it changed anything; gives the app back when it owned it. */
  async refuse(id: string, failure: OperationFailure): Promise<void> {
    await write(this.#context, async (tx) => {
      const operation = await getOperation(tx, id)
      if (operation === null || operation.state !== 'REQUESTED') return
      await closeOperation(this.#context, tx, operation, 'FAILED', failure)
    })
  }

  async #fence(tx: Db, id: string): Promise<void> {
    const operation = await getOperation(tx, id)
    const owner = operation === null ? null : ((await getApp(tx, operation.app))?.operation ?? null)
    if (owner === id) return
    throw new CoppiceError(
      'Fenced',
      `Operation ${id} does not own ${operation === null ? 'its app' : `app ${operation.app}`} any more`,
    )
  }

  async #begin(tx: Db, ref: StepRef): Promise<void> {
    const now = this.#context.now()
    const seq = await tx
      .selectFrom('operation_steps')
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .where('operation', '=', ref.operation)
      .executeTakeFirstOrThrow()
    await tx
      .insertInto('operation_steps')
      .values({
        operation: ref.operation,
        step: ref.step,
        seq: Number(seq.count),
        words: ref.words,
        state: 'running',
        detail: '',
        outcome: null,
        started_at: now,
        ended_at: null,
      })
      .onConflict((conflict) =>
        conflict.columns(['operation', 'step']).doUpdateSet({ state: 'running', ended_at: null }),
      )
      .execute()
    const operation = await getOperation(tx, ref.operation)
    if (operation !== null) await this.#stepEvent(tx, operation.app, ref, 'running', '')
  }

  async #end(tx: Db, ref: StepRef, outcome: unknown): Promise<void> {
    await tx
      .updateTable('operation_steps')
      .set({ state: 'done', outcome: JSON.stringify(outcome ?? null), ended_at: this.#context.now() })
      .where('operation', '=', ref.operation)
      .where('step', '=', ref.step)
      .execute()
    const operation = await getOperation(tx, ref.operation)
    if (operation !== null) await this.#stepEvent(tx, operation.app, ref, 'done', '')
  }

  async #stepEvent(tx: Db, app: string, ref: StepRef, state: string, detail: string): Promise<void> {
    await addEvent(this.#context, tx, {
      app,
      operation: ref.operation,
      kind: 'step',
      message: detail === '' ? ref.words : `${ref.words}: ${detail}`,
      data: { step: ref.step, words: ref.words, state, detail },
    })
  }
}

function latest(tx: Db, { app, limit = 100, before }: ListOptions) {
  let query = tx.selectFrom('operations').orderBy('requested_at', 'desc').orderBy('id', 'desc').limit(limit)
  if (app !== undefined) query = query.where('app', '=', app)
  if (before !== undefined)
    query = query.where(({ eb, refTuple, selectFrom }) =>
      eb(
        refTuple('requested_at', 'id'),
        '<',
        selectFrom('operations').select(['requested_at', 'id']).where('id', '=', before).$asTuple('requested_at', 'id'),
      ),
    )
  return query
}

async function namedOperations(tx: Db): Promise<Set<string>> {
  const deployments = await tx.selectFrom('deployments').select('operation').where('artifact', 'is not', null).execute()
  const instances = await tx.selectFrom('instances').select('operation').execute()
  const apps = await tx.selectFrom('apps').select('last_update').execute()
  const updates = apps.map((app) => parseJson<LastUpdate>(app.last_update)?.operation)
  return new Set(
    [...deployments, ...instances].map(({ operation }) => operation).concat(updates.flatMap((id) => id ?? [])),
  )
}

async function outcomeOf<T>(tx: Db, ref: Pick<StepRef, 'operation' | 'step'>): Promise<{ outcome: T } | null> {
  const row = await tx
    .selectFrom('operation_steps')
    .select(['state', 'outcome'])
    .where('operation', '=', ref.operation)
    .where('step', '=', ref.step)
    .executeTakeFirst()
  return row?.state === 'done' ? { outcome: parseJson<T>(row.outcome) as T } : null
}

export async function assertCompensable(tx: Db, id: string): Promise<void> {
  if ((await getOperation(tx, id))?.phase === 'committed')
    throw new CoppiceError('TooLateToCancel', `Operation ${id} has passed its pivot and is not undone any more`)
}

export async function getOperation(tx: Db, id: string): Promise<Operation | null> {
  const row = await tx.selectFrom('operations').selectAll().where('id', '=', id).executeTakeFirst()
  return row === undefined ? null : toOperation(row)
}

export type NewOperation = Pick<Operation, 'id' | 'app' | 'type' | 'state' | 'door' | 'startedBy'> &
  Partial<Pick<Operation, 'workflowId' | 'runId' | 'createdApp' | 'repairs' | 'deployment' | 'change' | 'settings'>>

export async function insertOperation(context: StoreContext, tx: Db, operation: NewOperation): Promise<void> {
  const now = context.now()
  await tx
    .insertInto('operations')
    .values({
      id: operation.id,
      app: operation.app,
      type: operation.type,
      state: operation.state,
      phase: 'compensable',
      door: operation.door,
      started_by: operation.startedBy,
      workflow_id: operation.workflowId ?? null,
      run_id: operation.runId ?? null,
      deployment: operation.deployment ?? null,
      change: operation.change == null ? null : JSON.stringify(operation.change),
      settings: operation.settings == null ? null : JSON.stringify(operation.settings),
      plan: null,
      created_app: operation.createdApp === true ? 1 : 0,
      repairs: operation.repairs ?? null,
      failure: null,
      requested_at: now,
      started_at: operation.state === 'RUNNING' ? now : null,
      ended_at: null,
    })
    .execute()
}

/**
 * Ends an operation: its record, its deployment, the owner of the app, the pins, the event. The end of every saga goes
 * through here, so that nothing can be forgotten at one of them.
 */
export async function closeOperation(
  context: StoreContext,
  tx: Db,
  operation: Operation,
  state: 'SUCCEEDED' | 'FAILED' | 'CANCELLED',
  found: OperationFailure | null,
): Promise<void> {
  const failure = found === null ? null : keptFailure(found)
  const now = context.now()
  await tx
    .updateTable('operations')
    .set({ state, failure: failure === null ? null : JSON.stringify(failure), ended_at: now })
    .where('id', '=', operation.id)
    .execute()
  if (operation.deployment !== null && operation.type === 'deploy') {
    const message =
      state === 'SUCCEEDED' ? 'App started successfully' : (failure?.message ?? 'The deployment was cancelled.')
    await tx
      .updateTable('deployments')
      .set({ state, message, updated_at: now })
      .where('id', '=', operation.deployment)
      .execute()
    // A deployment that came to nothing needs its artifact no more; one that succeeded keeps it (R4.3).
    if (state !== 'SUCCEEDED') await tx.deleteFrom('pins').where('holder', '=', operation.deployment).execute()
  }
  const app = await getApp(tx, operation.app)
  if (app !== null && app.operation === operation.id)
    await tx
      .updateTable('apps')
      .set({
        operation: null,
        pending_deployment: null,
        // What an undone conversion had taken goes back; what a finished one gave up has gone at its pivot.
        place: app.mode === 'scaled' ? 1 : 0,
        updated_at: now,
        ...computeRest(app.desired),
      })
      .where('name', '=', app.name)
      .execute()
  await tx.deleteFrom('pins').where('holder', '=', operation.id).execute()
  await addEvent(context, tx, {
    app: operation.app,
    operation: operation.id,
    kind: 'operation',
    message: endWords(operation.type, operation.app, state, failure),
    data: { type: operation.type, state, failure },
  })
}

/** As it is kept, in the operation and in its event (R14.4). */
function keptFailure(failure: OperationFailure): OperationFailure {
  const { message, logLines, undoFailures } = failure
  return {
    ...failure,
    message: cutMessage(message),
    ...(logLines !== undefined && { logLines: keptLines(logLines) }),
    ...(undoFailures !== undefined && { undoFailures: keptLines(undoFailures) }),
  }
}

function endWords(type: OperationType, app: string, state: string, failure: OperationFailure | null): string {
  if (state === 'SUCCEEDED') return `${type} of ${app} succeeded`
  if (state === 'CANCELLED') return `${type} of ${app} was cancelled; everything is as before`
  return `${type} of ${app} failed${failure?.step === undefined ? '' : ` at "${failure.step}"`}: ${failure?.message ?? ''}`
}
