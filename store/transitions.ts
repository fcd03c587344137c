/**
 * The transactions of a saga on the inventory once it was admitted: commit (the pivot), finish, abandon, take over. Each
 * is one transaction, idempotent, and fenced; see `operations.ts` for the states they move, `admissions.ts` for how an
 * operation begins.
 */
import type { Transaction } from 'kysely'
import { CoppiceError } from '../domain/errors.ts'
import type { Plan, PlannedInstance } from '../domain/plan.ts'
import type { App, Operation, OperationFailure } from '../domain/records.ts'
import type { EndedInstance } from '../runtime/contracts.ts'
import { applySettings } from './app-settings.ts'
import { getApp } from './apps.ts'
import { parseJson, type StoreContext, write } from './context.ts'
import { addEvent } from './events.ts'
import { deleteInstances } from './instances.ts'
import { assertCompensable, closeOperation, getOperation, insertOperation, type Operations } from './operations.ts'
import { raiseRouteVersion } from './routes.ts'
import type { Schema } from './schema.ts'

export class Transitions {
  readonly #context: StoreContext
  readonly #operations: Operations

  constructor(context: StoreContext, operations: Operations) {
    this.#context = context
    this.#operations = operations
  }

  /**
   * The pivot: the deployment, the instances and the next route table in one transaction. Before it nothing has been
   * taken away; after it nothing is undone.
   *
   * @param ended what the worker has just seen to be down, whether it has written that down by now or not.
   * @returns the version of the route table that has to be acknowledged.
   * @throws CoppiceError InstanceLost when an instance that is to serve does not run any more (R3.3).
   */
  commit(plan: Plan, ended: readonly EndedInstance[] = []): Promise<{ version: number }> {
    const ref = { operation: plan.operation, step: 'commit', words: 'Switch over' }
    return this.#operations.transactionStep(ref, async (tx) => {
      await this.#serve(tx, plan.add, ended)
      await this.#withRole(tx, plan.remove, 'draining')
      await tx
        .updateTable('apps')
        .set({
          mode: plan.target.mode,
          instances: plan.target.instances,
          compute_size: plan.target.computeSize,
          // A standard app has the pre-installed libraries, whatever it gave up while it was scaled (R5.0).
          ...(plan.type === 'convert' && plan.target.mode === 'standard' && { preinstalled: 1 }),
          // A place is given back here, at the pivot, and not before: until then the app may have to go back to it.
          place: plan.target.exists && plan.target.mode === 'scaled' ? 1 : 0,
          desired: plan.target.desired,
          ...((plan.type === 'deploy' || plan.type === 'rollback') && {
            active_deployment: plan.deployment,
            pending_deployment: null,
            // It is checked as what runs was when it became healthy; that of a rollback was so long ago.
            ...(await this.#healthOf(tx, plan.deployment)),
          }),
          updated_at: this.#context.now(),
        })
        .where('name', '=', plan.app)
        .execute()
      const settings = (await getOperation(tx, plan.operation))?.settings
      if (settings != null) await applySettings(this.#context, tx, (await getApp(tx, plan.app)) as App, settings)
      await tx.updateTable('operations').set({ phase: 'committed' }).where('id', '=', plan.operation).execute()
      return { version: await raiseRouteVersion(tx, plan.app) }
    })
  }

  /** The last step: what left goes out of the inventory, the operation ends as SUCCEEDED and the app is free. */
  async finish(plan: Plan, owner: string = plan.operation): Promise<void> {
    const ref = { operation: owner, step: 'finish', words: 'Finish' }
    await this.#operations.transactionStep(ref, async (tx) => {
      await deleteInstances(
        this.#context,
        tx,
        plan.app,
        plan.remove.map((instance) => instance.id),
      )
      for (const id of new Set([plan.operation, owner])) {
        const operation = (await getOperation(tx, id)) as Operation
        await closeOperation(this.#context, tx, operation, 'SUCCEEDED', null)
      }
      if (!plan.target.exists) await this.#deleteApp(tx, plan.app)
      else if (plan.deployment !== null) await this.#keepDeployment(tx, plan)
      return null
    })
  }

  /**
   * The end of an undo: everything is as it was before the operation.
   *
   * @param owner the operation that owns the app now: the one that undoes itself, or the repair that took it over.
   */
  async abandon(
    id: string,
    end: { state: 'FAILED' | 'CANCELLED'; failure: OperationFailure },
    owner: string = id,
  ): Promise<void> {
    await write(this.#context, async (tx) => {
      const operation = await getOperation(tx, id)
      if (operation === null || operation.endedAt !== null) return
      await assertCompensable(tx, id)
      const app = await getApp(tx, operation.app)
      if (app?.operation !== owner)
        throw new CoppiceError('Fenced', `Operation ${owner} does not own app ${operation.app} any more`)
      const leftBehind = end.failure.undoFailures ?? []
      const added = (operation.plan?.add ?? []).map((instance) => instance.id)
      // What could not be undone stays in the inventory as retired, so that the reconciler goes on removing it.
      if (leftBehind.length === 0) await deleteInstances(this.#context, tx, operation.app, added)
      else if (added.length > 0)
        await tx.updateTable('instances').set({ desired: 'retired' }).where('id', 'in', added).execute()
      await tx
        .updateTable('operation_steps')
        .set({ state: 'undone' })
        .where('operation', '=', id)
        .where('state', 'in', ['done', 'running'])
        .execute()
      await closeOperation(this.#context, tx, operation, end.state, end.failure)
      const repair = owner === id ? null : await getOperation(tx, owner)
      if (repair !== null) await closeOperation(this.#context, tx, repair, 'SUCCEEDED', null)
      if (operation.createdApp) await this.#deleteApp(tx, operation.app)
    })
  }

  /**
   * A repair takes an app over from an operation that lost its workflow (R10.6). The lost one is fenced off from here
   * on; a repair that was lost itself is ended, and what it repaired is taken over.
   *
   * @returns the operation to end, or null when there is nothing to repair any more.
   */
  takeOver(repair: { id: string; app: string; workflowId: string; runId: string }): Promise<Operation | null> {
    return write(this.#context, async (tx) => {
      const app = await getApp(tx, repair.app)
      if (app === null || app.operation === null) return null
      const owner = await getOperation(tx, app.operation)
      if (owner === null) return null
      const lost = owner.repairs === null ? owner : await getOperation(tx, owner.repairs)
      if (owner.id === repair.id) return lost
      await insertOperation(this.#context, tx, {
        id: repair.id,
        app: app.name,
        type: 'repair',
        state: 'RUNNING',
        door: 'platform',
        startedBy: 'coppice',
        repairs: lost?.id ?? null,
        workflowId: repair.workflowId,
        runId: repair.runId,
      })
      if (owner.type === 'repair')
        await closeOperation(this.#context, tx, owner, 'FAILED', {
          code: 'Terminated',
          message: `The repair was ended from outside; ${repair.id} goes on with it`,
        })
      await tx.updateTable('apps').set({ operation: repair.id }).where('name', '=', app.name).execute()
      await addEvent(this.#context, tx, {
        app: app.name,
        operation: repair.id,
        kind: 'operation',
        message: `${lost?.type ?? 'an operation'} of ${app.name} lost its workflow; it is being taken ${lost?.phase === 'committed' ? 'forward' : 'back'}`,
        data: { type: 'repair', state: 'RUNNING', repairs: lost?.id ?? null },
      })
      return lost
    })
  }

  async #healthOf(tx: Transaction<Schema>, deployment: string | null) {
    const columns = ['health_path', 'health_timeout_ms', 'silence_ms'] as const
    return tx.selectFrom('deployments').select(columns).where('id', '=', deployment).executeTakeFirst()
  }

  async #serve(tx: Transaction<Schema>, instances: PlannedInstance[], ended: readonly EndedInstance[]): Promise<void> {
    for (const { id, slot } of instances) {
      const row = await tx.selectFrom('instances').selectAll().where('id', '=', id).executeTakeFirst()
      if (row === undefined || row.address === null || row.desired !== 'running')
        throw new CoppiceError('Internal', `Instance ${id} is to serve but is not there`)
      const end = ended.find((instance) => instance.id === id)
      if (row.observed === 'running' && end === undefined) continue
      const seen = end?.message ?? row.message ?? `It is ${row.observed}.`
      throw new CoppiceError(
        'InstanceLost',
        `The instance in slot ${slot} was healthy, but did not run any more when it was to take over. ${seen}`,
        { instance: id, logLines: end?.logLines ?? parseJson<string[]>(row.log_lines) ?? [] },
      )
    }
    await this.#withRole(tx, instances, 'serving')
  }

  async #withRole(tx: Transaction<Schema>, instances: PlannedInstance[], role: 'serving' | 'draining'): Promise<void> {
    if (instances.length === 0) return
    const ids = instances.map((instance) => instance.id)
    await tx.updateTable('instances').set({ role }).where('id', 'in', ids).execute()
  }

  /** The newest deployments stay with their artifacts, so that an app can go back to them without a build. */
  async #keepDeployment(tx: Transaction<Schema>, plan: Plan): Promise<void> {
    const deployment = await tx
      .selectFrom('deployments')
      .select(['id', 'artifact', 'source_code_path'])
      .where('id', '=', plan.deployment)
      .executeTakeFirst()
    if (deployment?.artifact == null) return
    if (plan.type === 'deploy' && deployment.source_code_path !== null)
      await tx
        .updateTable('apps')
        .set({ default_source_code_path: deployment.source_code_path })
        .where('name', '=', plan.app)
        .execute()
  }

  async #deleteApp(tx: Transaction<Schema>, name: string): Promise<void> {
    const deployments = await tx.selectFrom('deployments').select('id').where('app', '=', name).execute()
    const instances = await tx.selectFrom('instances').select('id').where('app', '=', name).execute()
    await tx.deleteFrom('secrets').where('app', '=', name).execute()
    await raiseRouteVersion(tx, name)
    await deleteInstances(
      this.#context,
      tx,
      name,
      instances.map((instance) => instance.id),
    )
    for (const { id } of deployments) await tx.deleteFrom('pins').where('holder', '=', id).execute()
    await tx.deleteFrom('deployments').where('app', '=', name).execute()
    await tx.deleteFrom('apps').where('name', '=', name).execute()
  }
}
