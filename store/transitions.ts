/**
 * The transactions of a saga on the inventory: request, admit, commit (the pivot), finish, abandon, take over.
 * Each is one transaction, idempotent, and fenced; see `operations.ts` for the states they move.
 */
import type { Transaction } from 'kysely'
import { CoppiceError } from '../domain/errors.ts'
import { type Change, type Plan, type PlannedInstance, planOperation } from '../domain/plan.ts'
import type { App, Operation, OperationFailure } from '../domain/records.ts'
import { type Apps, getApp } from './apps.ts'
import { type StoreContext, transact } from './context.ts'
import { insertDeployment, type NewDeployment } from './deployments.ts'
import { addEvent } from './events.ts'
import { deleteInstances, insertStandby, servingInstances } from './instances.ts'
import { assertCompensable, closeOperation, getOperation, insertOperation, type Operations } from './operations.ts'
import { raiseRouteVersion } from './routes.ts'
import type { Schema } from './schema.ts'
import type { Workspace } from './workspace.ts'

/** A change whose open questions the inventory answers: a rollback without a deployment goes to the one before. */
export type RequestedChange =
  | Exclude<Change, { type: 'rollback' }>
  | { type: 'rollback'; deployment?: string | undefined }

export type Request = {
  id: string
  app: string
  startedBy: string
  change: RequestedChange
  /** For a deploy. */
  deployment?: NewDeployment
}

export type Admission = {
  id: string
  app: string
  type: Change['type']
  /** For operations started by hand; null for the API's, which are written down already. */
  byHand: { startedBy: string; change: RequestedChange; deployment?: NewDeployment; instances?: number } | null
  workflowId: string
  runId: string
}

export type TransitionOptions = { drainTimeoutMs: number }

export class Transitions {
  readonly #context: StoreContext
  readonly #operations: Operations
  readonly #apps: Apps
  readonly #workspace: Workspace
  readonly #options: TransitionOptions

  constructor(
    context: StoreContext,
    parts: { operations: Operations; apps: Apps; workspace: Workspace },
    options: TransitionOptions,
  ) {
    this.#context = context
    this.#operations = parts.operations
    this.#apps = parts.apps
    this.#workspace = parts.workspace
    this.#options = options
  }

  /**
   * The API writes an operation down before it starts the workflow. From here on it owns the app, and the app shows
   * what is about to happen (clients poll for STARTING right after their call).
   *
   * @throws CoppiceError NotFound, OperationInProgress, InvalidState, LimitExceeded, PreviewDisabled; nothing is
   *   changed then.
   */
  request(request: Request): Promise<Operation> {
    return transact(this.#context, async (tx) => {
      const app = await this.#freeApp(tx, request.app, request.id)
      const deployment =
        request.deployment === undefined
          ? null
          : await insertDeployment(this.#context, tx, app.name, request.id, withDefaultSource(app, request.deployment))
      const change = await this.#settle(tx, app, request.change)
      const plan = await this.#plan(tx, app, change, request.id, deployment)
      await insertOperation(this.#context, tx, {
        id: request.id,
        app: app.name,
        type: change.type,
        state: 'REQUESTED',
        door: 'api',
        startedBy: request.startedBy,
        deployment,
        change,
      })
      await this.#own(tx, app, plan, deployment)
      return (await getOperation(tx, request.id)) as Operation
    })
  }

  /** @throws CoppiceError NotFound; OperationInProgress with who is running what. */
  async assertFree(app: string): Promise<void> {
    await transact(this.#context, (tx) => this.#freeApp(tx, app, ''))
  }

  /**
   * What `request` would do now, with every refusal that it would meet; nothing is changed.
   *
   * @throws as `request`
   */
  dryRun(app: string, wanted: RequestedChange): Promise<Plan> {
    return transact(this.#context, async (tx) => {
      const record = await this.#freeApp(tx, app, '')
      return this.#plan(tx, record, await this.#settle(tx, record, wanted), 'dry-run', null)
    })
  }

  /**
   * The first step of a saga: the operation becomes RUNNING with its plan, and its new instances are written down.
   *
   * @throws CoppiceError NotFound, OperationInProgress, OperationEnded, InvalidState, LimitExceeded, PreviewDisabled
   */
  async admit(admission: Admission): Promise<Plan> {
    const port = admission.byHand === null ? null : await this.#apps.offerPort()
    return transact(this.#context, async (tx) => {
      const known = await getOperation(tx, admission.id)
      if (known !== null && known.state !== 'REQUESTED' && known.state !== 'RUNNING')
        throw new CoppiceError('OperationEnded', `Operation ${known.id} has ended already as ${known.state}`)
      if (known !== null && (known.type !== admission.type || known.app !== admission.app))
        throw new CoppiceError('InvalidInput', `operation: ${known.id} is a ${known.type} of ${known.app}`, {
          field: 'operation',
        })
      if (known?.plan != null) return known.plan
      const app =
        known === null
          ? await this.#admitByHand(tx, admission, port)
          : await this.#freeApp(tx, admission.app, admission.id)
      const operation = (await getOperation(tx, admission.id)) as Operation
      const plan = await this.#plan(tx, app, operation.change as Change, operation.id, operation.deployment)
      await insertStandby(this.#context, tx, plan.add, {
        app: app.name,
        deployment: plan.deployment ?? '',
        operation: operation.id,
        mode: plan.target.mode,
        compute_size: plan.target.computeSize,
      })
      await tx
        .updateTable('operations')
        .set({
          state: 'RUNNING',
          plan: JSON.stringify(plan),
          started_at: this.#context.now(),
          workflow_id: admission.workflowId,
          run_id: admission.runId,
        })
        .where('id', '=', operation.id)
        .execute()
      await this.#own(tx, app, plan, operation.deployment)
      await addEvent(this.#context, tx, {
        app: app.name,
        operation: operation.id,
        kind: 'operation',
        message: `${admission.type} of ${app.name} began`,
        data: { type: admission.type, state: 'RUNNING', plan },
      })
      return plan
    })
  }

  /**
   * The pivot: the deployment, the instances and the next route table in one transaction. Before it nothing has been
   * taken away; after it nothing is undone.
   *
   * @returns the version of the route table that has to be acknowledged.
   */
  commit(plan: Plan): Promise<{ version: number }> {
    const ref = { operation: plan.operation, step: 'commit', words: 'Switch over' }
    return this.#operations.transactionStep(ref, async (tx) => {
      await this.#serve(tx, plan.add)
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
          }),
          updated_at: this.#context.now(),
        })
        .where('name', '=', plan.app)
        .execute()
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
    await transact(this.#context, async (tx) => {
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
    return transact(this.#context, async (tx) => {
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

  async #admitByHand(tx: Transaction<Schema>, admission: Admission, port: number | null): Promise<App> {
    const { byHand } = admission
    if (byHand === null)
      throw new CoppiceError('InvalidInput', `operation: there is no operation ${admission.id}; leave the field out`, {
        field: 'operation',
      })
    const existing = await getApp(tx, admission.app)
    if (existing === null && admission.type !== 'deploy') throw notFound(admission.app)
    if (existing !== null && byHand.instances !== undefined && byHand.instances !== existing.instances)
      throw new CoppiceError(
        'InvalidInput',
        `instances: app ${existing.name} has ${existing.instances}; a deployment does not change their number (resize does)`,
        { field: 'instances' },
      )
    const app =
      existing ??
      (await this.#apps.createIn(tx, {
        name: admission.app,
        mode: byHand.instances === undefined ? 'standard' : 'scaled',
        instances: byHand.instances ?? 1,
        creator: byHand.startedBy,
        port,
      }))
    if (app.operation !== null) throw await this.#inProgress(tx, app)
    const deployment =
      byHand.deployment === undefined
        ? null
        : await insertDeployment(this.#context, tx, app.name, admission.id, withDefaultSource(app, byHand.deployment))
    await insertOperation(this.#context, tx, {
      id: admission.id,
      app: app.name,
      type: admission.type,
      change: await this.#settle(tx, app, byHand.change),
      state: 'RUNNING',
      door: 'temporal',
      startedBy: byHand.startedBy,
      createdApp: existing === null,
      deployment,
    })
    return app
  }

  async #plan(
    tx: Transaction<Schema>,
    app: App,
    change: Change,
    operation: string,
    deployment: string | null,
  ): Promise<Plan> {
    const serving = await servingInstances(tx, app.name)
    const { drainTimeoutMs } = this.#options
    const plan = planOperation({ app, serving, operation, change, deployment, drainTimeoutMs })
    if (plan.target.instances !== app.instances)
      await this.#workspace.withinInstanceLimit(tx, app.name, plan.target.instances)
    if (plan.target.mode === 'scaled' && !app.place) await this.#workspace.takePlace(tx, app.name)
    return plan
  }

  /** Answers what a change leaves open, and refuses a rollback to what cannot run. */
  async #settle(tx: Transaction<Schema>, app: App, change: RequestedChange): Promise<Change> {
    if (change.type !== 'rollback') return change
    const kept = await tx
      .selectFrom('deployments')
      .select(['id', 'created_at'])
      .where('app', '=', app.name)
      .where('state', '=', 'SUCCEEDED')
      .where('artifact', 'is not', null)
      .orderBy('created_at', 'desc')
      .execute()
    const active = kept.findIndex(({ id }) => id === app.activeDeployment)
    const chosen = change.deployment ?? kept[active + 1]?.id
    if (chosen === undefined)
      throw new CoppiceError('InvalidState', `App ${app.name} has no earlier deployment to go back to`)
    if (!kept.some(({ id }) => id === chosen))
      throw new CoppiceError('InvalidInput', `deployment: ${chosen} is no deployment of ${app.name} that is kept`, {
        field: 'deployment',
      })
    return { type: 'rollback', deployment: chosen }
  }

  async #freeApp(tx: Transaction<Schema>, name: string, operation: string): Promise<App> {
    const app = await getApp(tx, name)
    if (app === null) throw notFound(name)
    if (app.operation !== null && app.operation !== operation) throw await this.#inProgress(tx, app)
    return app
  }

  async #inProgress(tx: Transaction<Schema>, app: App): Promise<CoppiceError> {
    const running = await getOperation(tx, app.operation as string)
    const since = running === null ? '' : ` since ${new Date(running.requestedAt).toISOString()}`
    return new CoppiceError(
      'OperationInProgress',
      `Cannot change app ${app.name}: ${running?.type ?? 'an operation'} (${app.operation}) by ${running?.startedBy ?? 'somebody'} runs${since}`,
      { operation: app.operation, type: running?.type, startedBy: running?.startedBy },
    )
  }

  async #own(tx: Transaction<Schema>, app: App, plan: Plan, deployment: string | null): Promise<void> {
    const shows = COMPUTE_WHILE[plan.type as Change['type']]
    await tx
      .updateTable('apps')
      .set({
        operation: plan.operation,
        updated_at: this.#context.now(),
        ...(plan.target.mode === 'scaled' && { place: 1 }),
        ...(shows !== null && { compute_state: shows[0], compute_message: shows[1] }),
        ...(deployment !== null && { pending_deployment: deployment }),
      })
      .where('name', '=', app.name)
      .execute()
  }

  async #serve(tx: Transaction<Schema>, instances: PlannedInstance[]): Promise<void> {
    for (const { id } of instances) {
      const row = await tx.selectFrom('instances').selectAll().where('id', '=', id).executeTakeFirst()
      if (row === undefined || row.address === null || row.desired !== 'running')
        throw new CoppiceError('Internal', `Instance ${id} is to serve but is not there`)
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

const COMPUTE_WHILE: Record<Change['type'], [string, string] | null> = {
  deploy: null,
  convert: ['UPDATING', 'App compute is being converted.'],
  resize: ['UPDATING', 'App compute is being resized.'],
  rollback: null,
  start: ['STARTING', 'App compute is starting.'],
  stop: ['STOPPING', 'App compute is stopping.'],
  restart: ['UPDATING', 'App is restarting.'],
  delete: ['DELETING', 'App is being deleted.'],
}

const notFound = (name: string): CoppiceError =>
  new CoppiceError('NotFound', `Resource apps.App not found: ${name}`, { app: name })

function withDefaultSource(app: App, deployment: NewDeployment): NewDeployment {
  if (deployment.source !== null || deployment.sourceCodePath !== null) return deployment
  if (app.defaultSourceCodePath !== null) return { ...deployment, sourceCodePath: app.defaultSourceCodePath }
  throw new CoppiceError('InvalidInput', `source_code_path: app ${app.name} has no earlier source to deploy again`, {
    field: 'source_code_path',
  })
}
