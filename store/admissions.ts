/**
 * How an operation comes to own an app: `request` (the API writes it down) and `admit` (the first step of its saga). Each
 * is one transaction, idempotent, and refuses what may not begin; see `operations.ts` for the states they move and
 * `transitions.ts` for what follows.
 */
import type { Transaction } from 'kysely'
import { CoppiceError } from '../domain/errors.ts'
import { type Change, type Plan, planOperation } from '../domain/plan.ts'
import type { App, AppSettings, Operation } from '../domain/records.ts'
import { assertMaySet } from './app-settings.ts'
import { type Apps, getApp, noteUpdateIn } from './apps.ts'
import { read, type StoreContext, write } from './context.ts'
import { assertNewDeployment, insertDeployment, type NewDeployment } from './deployments.ts'
import { addEvent } from './events.ts'
import { insertStandby, servingInstances } from './instances.ts'
import { getOperation, insertOperation } from './operations.ts'
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
  /** What it changes beside that, at its pivot. */
  settings?: AppSettings
  /** An update through the API asked for it; `lastUpdate` of the app names it from here on. */
  update?: boolean
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

export type AdmissionOptions = { drainTimeoutMs: number }

export class Admissions {
  readonly #context: StoreContext
  readonly #apps: Apps
  readonly #workspace: Workspace
  readonly #options: AdmissionOptions

  constructor(context: StoreContext, parts: { apps: Apps; workspace: Workspace }, options: AdmissionOptions) {
    this.#context = context
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
    return write(this.#context, async (tx) => {
      // First: whoever lost the answer and asks again is told of the deployment, and not of its own operation.
      if (request.deployment?.id !== undefined) await assertNewDeployment(tx, request.deployment.id)
      const app = await this.#freeApp(tx, request.app, request.id)
      const deployment =
        request.deployment === undefined
          ? null
          : await insertDeployment(this.#context, tx, app, request.id, withDefaultSource(app, request.deployment))
      const change = await this.#settle(tx, app, request.change)
      const plan = await this.#plan(tx, app, change, request.id, deployment)
      assertMaySet(app, plan.target.mode, request.settings ?? {})
      await insertOperation(this.#context, tx, {
        id: request.id,
        app: app.name,
        type: change.type,
        state: 'REQUESTED',
        door: 'api',
        startedBy: request.startedBy,
        deployment,
        change,
        settings: request.settings ?? null,
      })
      await this.#own(tx, app, plan, deployment)
      if (request.update) await noteUpdateIn(tx, app.name, { operation: request.id })
      return (await getOperation(tx, request.id)) as Operation
    })
  }

  /** @throws CoppiceError NotFound; OperationInProgress with who is running what. */
  async assertFree(app: string): Promise<void> {
    await read(this.#context, (tx) => this.#freeApp(tx, app, ''))
  }

  /**
   * What `request` would do now, with every refusal that it would meet; nothing is changed.
   *
   * @throws as `request`
   */
  dryRun(app: string, wanted: RequestedChange, settings: AppSettings = {}): Promise<Plan> {
    return read(this.#context, async (tx) => {
      const record = await this.#freeApp(tx, app, '')
      const plan = await this.#plan(tx, record, await this.#settle(tx, record, wanted), 'dry-run', null)
      assertMaySet(record, plan.target.mode, settings)
      return plan
    })
  }

  /**
   * The first step of a saga: the operation becomes RUNNING with its plan, and its new instances are written down.
   *
   * @throws CoppiceError NotFound, OperationInProgress, OperationEnded, InvalidState, LimitExceeded, PreviewDisabled
   */
  async admit(admission: Admission): Promise<Plan> {
    const port = admission.byHand === null ? null : await this.#apps.offerPort()
    return write(this.#context, async (tx) => {
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
        : await insertDeployment(this.#context, tx, app, admission.id, withDefaultSource(app, byHand.deployment))
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
