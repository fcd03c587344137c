/** The one place where the control plane starts and cancels operations (DESIGN D1, D4). */
import { randomUUID } from 'node:crypto'
import { WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client'
import type { Logger } from 'pino'
import { holderWords, lockMemo } from '../domain/app-lock.ts'
import { CoppiceError } from '../domain/errors.ts'
import { appWorkflowId, TASK_QUEUE } from '../domain/product.ts'
import type { AppSettings, Operation } from '../domain/records.ts'
import type { RequestedChange } from '../store/admissions.ts'
import type { NewDeployment } from '../store/deployments.ts'
import type { Store } from '../store/store.ts'
import { type LockDeps, lookAtLock, refusal } from './lock-holder.ts'
import type { Temporal } from './temporal.ts'

export type OperationRequest = {
  app: string
  change: RequestedChange
  startedBy: string
  /** For a deploy. */
  deployment?: NewDeployment
  /** What it changes beside that, at its pivot. */
  settings?: AppSettings
  /** An update through the API asked for it. */
  update?: boolean
}

export type OperationsOptions = {
  /** How long a workflow that has ended in the inventory may take to close in Temporal, in ms. */
  closeTimeoutMs?: number
  newId?: () => string
}

/** Past this the start has failed for good; 10 s after the request the worker takes it for lost and repairs it. */
const START_BUDGET_MS = 8_000

export class OperationStarter {
  readonly #store: Store
  readonly #temporal: Temporal
  readonly #locks: LockDeps
  readonly #log: Logger
  readonly #closeTimeoutMs: number
  readonly #newId: () => string

  constructor(store: Store, temporal: Temporal, log: Logger, options: OperationsOptions = {}) {
    this.#store = store
    this.#temporal = temporal
    this.#locks = { store, temporal, now: Date.now }
    this.#log = log
    this.#closeTimeoutMs = options.closeTimeoutMs ?? 5_000
    this.#newId = options.newId ?? randomUUID
  }

  /**
   * Writes the operation down, then starts its workflow. When that cannot be started the operation ends as FAILED and
   * the app is as it was. A death in between is the worker's to repair: the operation is open and has no workflow.
   *
   * @throws CoppiceError NotFound, InvalidState, OperationInProgress; ForeignWorkflow when a stranger holds the lock;
   *   Unavailable when Temporal cannot be reached.
   */
  async start(request: OperationRequest): Promise<Operation> {
    const id = `op-${this.#newId()}`
    await this.#store.admissions.request({ id, ...request })
    try {
      const run = await this.#startWorkflow(id, request)
      await this.#store.operations.setRun(id, run)
    } catch (error) {
      if (!(await this.#refuse(id, error))) throw error
    }
    return (await this.#store.operations.get(id)) as Operation
  }

  /**
   * Asks a running operation to stop; it then takes back what it did and ends as CANCELLED.
   *
   * @throws CoppiceError NotFound, OperationEnded, TooLateToCancel past the pivot (R10.4), Unavailable; ForeignWorkflow
   *   when a stranger took the place of its workflow.
   */
  async cancel(id: string): Promise<Operation> {
    const operation = await this.#store.operations.get(id)
    if (operation === null) throw new CoppiceError('NotFound', `There is no operation ${id}`, { operation: id })
    if (operation.endedAt !== null)
      throw new CoppiceError('OperationEnded', `Operation ${id} has ended already as ${operation.state}`)
    if (operation.phase === 'committed' || operation.type === 'repair')
      throw new CoppiceError(
        'TooLateToCancel',
        `Operation ${id} (${operation.type} of ${operation.app}) completes by itself`,
      )
    const { workflowId, runId } = operation
    // Without its run the request could reach the workflow that held the lock before.
    if (workflowId === null || runId === null)
      throw new CoppiceError('Unavailable', `Operation ${id} is just being started`)
    try {
      await this.#temporal.call(async (client) => {
        // Temporal takes the cancel of a run that has closed as well, and the repair that would follow cannot begin.
        const lock = await lookAtLock(this.#locks, operation.app)
        const foreign = lock === null ? null : refusal(operation.app, lock, this.#temporal)
        if (foreign !== null) throw foreign
        await client.workflow.getHandle(workflowId, runId).cancel()
      })
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error
      const now = await this.#store.operations.get(id)
      if (now !== null && now.endedAt !== null)
        throw new CoppiceError('OperationEnded', `Operation ${id} has ended already as ${now.state}`)
      throw new CoppiceError('Unavailable', `Operation ${id} has no workflow at the moment; the worker repairs that`)
    }
    return (await this.#store.operations.get(id)) as Operation
  }

  async #startWorkflow(
    id: string,
    { app, change: { type }, startedBy }: OperationRequest,
  ): Promise<{ workflowId: string; runId: string }> {
    const workflowId = appWorkflowId(app)
    const deadline = performance.now() + START_BUDGET_MS
    const closeDeadline = performance.now() + this.#closeTimeoutMs
    const start = () =>
      this.#temporal.call(
        (client) =>
          client.workflow.start(type, {
            workflowId,
            taskQueue: TASK_QUEUE,
            args: [{ app, operation: id }],
            workflowIdConflictPolicy: 'FAIL',
            workflowIdReusePolicy: 'ALLOW_DUPLICATE',
            // A task whose worker was killed is given to another one after this; the default is 10 s (DESIGN D14).
            workflowTaskTimeout: '3s',
            staticSummary: `${type} ${app} (${id}, by ${startedBy})`,
            memo: lockMemo(this.#store.inventory),
          }),
        deadline - performance.now(),
      )
    for (;;) {
      try {
        const handle = await start()
        return { workflowId, runId: handle.firstExecutionRunId }
      } catch (error) {
        if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error
        if (!(await this.#awaitClose(app, closeDeadline))) throw await this.#lockTaken(app)
      }
    }
  }

  /**
   * The inventory gave us the app, so whatever of ours still holds the lock has ended there and is about to close, or was
   * started by hand a moment ago and is about to be refused by the inventory.
   *
   * @returns whether it has closed before the deadline.
   * @throws CoppiceError ForeignWorkflow for one that is none of ours.
   */
  async #awaitClose(app: string, deadline: number): Promise<boolean> {
    const remaining = deadline - performance.now()
    if (remaining <= 0) return false
    return this.#temporal
      .call(async (client) => {
        const lock = await lookAtLock(this.#locks, app)
        if (lock === null) return true
        const refused = refusal(app, lock, this.#temporal)
        if (refused !== null) throw refused
        if (lock.operation?.endedAt === null) return false
        // How it ended does not matter here.
        await client.workflow
          .getHandle(appWorkflowId(app), lock.holder.runId, { followRuns: false })
          .result()
          .catch((error: Error) => {
            if (error.name !== 'WorkflowFailedError' && error.name !== 'WorkflowContinuedAsNewError') throw error
          })
        return true
      }, remaining)
      .catch((error: unknown) => {
        if (isForeign(error)) throw error
        this.#log.warn({ err: error, app }, 'waited in vain for the workflow of an app to close')
        return false
      })
  }

  async #lockTaken(app: string): Promise<CoppiceError> {
    const lock = await this.#temporal.call(() => lookAtLock(this.#locks, app)).catch(() => null)
    const words = lock === null ? `the workflow ${appWorkflowId(app)} runs` : holderWords(lock.holder)
    const taken = new CoppiceError('OperationInProgress', `Cannot change app ${app}: ${words}`, { app })
    return (lock !== null && refusal(app, lock, this.#temporal)) || taken
  }

  /** @returns true when the operation runs all the same: the answer to the start was lost, not the start. */
  async #refuse(id: string, error: unknown): Promise<boolean> {
    const known = error instanceof CoppiceError ? error : new CoppiceError('Internal', String(error))
    await this.#store.operations.refuse(id, { code: known.code, message: known.message })
    const operation = await this.#store.operations.get(id)
    // The undo of a workflow that did start is its own: it finds its operation ended and changes nothing.
    return operation !== null && operation.state !== 'FAILED'
  }
}

const isForeign = (error: unknown): boolean => error instanceof CoppiceError && error.code === 'ForeignWorkflow'
