/** The transactions of a saga as activities: idempotent, under a second, run as local ones (DESIGN D14). */
import { Context } from '@temporalio/activity'
import { holderWords } from '../domain/app-lock.ts'
import { healthCheckOf } from '../domain/health-check.ts'
import type { OperationInput } from '../domain/inputs.ts'
import type { Change, Plan } from '../domain/plan.ts'
import type { Operation, OperationFailure } from '../domain/records.ts'
import type { OperationType } from '../domain/states.ts'
import type { Instances } from '../runtime/contracts.ts'
import type { RequestedChange } from '../store/admissions.ts'
import type { Store } from '../store/store.ts'
import { toFailure } from './failure.ts'
import { type Faults, noFaults, type StepOwner } from './faults.ts'
import { foreignLockOf, lockHolderOf } from './lock-holder.ts'
import type { StepName } from './steps.ts'

export type AdmitRequest = {
  operation: string
  type: Exclude<OperationType, 'repair'>
  input: OperationInput
  /** For operations started by hand: who; null for the API's. */
  startedBy: string | null
  workflowId: string
  runId: string
}

export type InventoryDeps = {
  store: Store
  instances: Pick<Instances, 'ended'>
  /** Of Temporal, as people would name it to the `temporal` program. */
  temporalAddress: string
  faults?: Faults
}

export const createInventoryActivities = (deps: InventoryDeps) => {
  const { store, instances, faults = noFaults } = deps
  const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw toFailure(error)
    }
  }

  /** A transaction: its effect and its record are one, so there are two moments only. */
  const transaction = async <T>(step: StepName<'transaction'>, of: StepOwner, work: () => Promise<T>): Promise<T> =>
    guarded(async () => {
      await faults(step, 'before', of)
      const result = await work()
      await faults(step, 'recorded', of)
      return result
    })

  return {
    admit: (request: AdmitRequest): Promise<Plan> =>
      transaction('admit', { operation: request.operation, app: request.input.app }, () => {
        const { input, type, startedBy } = request
        return store.admissions.admit({
          id: request.operation,
          app: input.app,
          type,
          workflowId: request.workflowId,
          runId: request.runId,
          byHand:
            startedBy === null
              ? null
              : {
                  startedBy,
                  change: changeOf(type, input),
                  ...(type === 'deploy' && input.instances !== undefined && { instances: input.instances }),
                  ...(type === 'deploy' && {
                    deployment: {
                      sourceCodePath: input.sourceCodePath ?? null,
                      source: input.sourceDigest ?? null,
                      command: input.command ?? null,
                      env: [],
                      health: healthCheckOf(input.healthCheck),
                      creator: startedBy,
                    },
                  }),
                },
        })
      }),

    /** An operation of the API that was not admitted: its record ends and the app is free. */
    refuse: (operation: string, failure: OperationFailure): Promise<void> =>
      guarded(() => store.operations.refuse(operation, failure)),

    commit: (plan: Plan): Promise<{ version: number }> =>
      transaction('commit', plan, async () =>
        store.transitions.commit(plan, await instances.ended(plan.add.map(({ id }) => id))),
      ),

    finish: (plan: Plan, owner: string): Promise<void> =>
      transaction('finish', plan, () => store.transitions.finish(plan, owner)),

    abandon: (
      operation: string,
      end: { state: 'FAILED' | 'CANCELLED'; failure: OperationFailure },
      owner: string,
    ): Promise<void> => transaction('abandon', { operation }, () => store.transitions.abandon(operation, end, owner)),

    takeOver: (repair: { id: string; app: string; workflowId: string; runId: string }): Promise<LostOperation | null> =>
      transaction('takeOver', { operation: repair.id, app: repair.app }, async () => {
        const lost = await store.transitions.takeOver(repair)
        return lost === null ? null : { lost, version: await committedVersion(store, lost) }
      }),

    /**
     * Who holds the app: what a refused operation tells. `ended`: nobody does in the inventory, so the lock is about to
     * be let go.
     *
     * @throws ForeignWorkflow when it is none of our operations, and waiting would be in vain.
     */
    lockHolder: (app: string): Promise<{ words: string; ended: boolean }> =>
      guarded(async () => {
        const owner = (await store.apps.get(app))?.operation
        const operation = owner == null ? null : await store.operations.get(owner)
        if (operation === null) return { words: await holderInTemporal(deps, app), ended: true }
        const since = new Date(operation.requestedAt).toISOString()
        return {
          words: `${operation.type} (${operation.id}) by ${operation.startedBy} runs since ${since}`,
          ended: false,
        }
      }),
  }
}

async function holderInTemporal({ store, temporalAddress }: InventoryDeps, app: string): Promise<string> {
  const { client, info } = Context.current()
  const holder = await lockHolderOf(client, app)
  if (holder === null) return 'an operation that has just ended'
  const place = { address: temporalAddress, namespace: info.workflowNamespace ?? 'default' }
  const foreign = await foreignLockOf(store, app, holder, place)
  if (foreign !== null) throw foreign
  return holderWords(holder)
}

/** What somebody asked for by hand, as the inventory takes it. */
function changeOf(type: Change['type'], input: OperationInput): RequestedChange {
  switch (type) {
    case 'convert':
      return { type, mode: input.to ?? 'scaled' }
    case 'resize':
      return {
        type,
        ...(input.instances !== undefined && { instances: input.instances }),
        ...(input.computeSize !== undefined && { computeSize: input.computeSize }),
      }
    case 'rollback':
      return { type, deployment: input.deployment }
    default:
      return { type }
  }
}

export type LostOperation = {
  lost: Operation
  /** The route table that the pivot published; the current one when the lost operation had none. */
  version: number
}

async function committedVersion(store: Store, lost: Operation): Promise<number> {
  const done = await store.operations.outcome<{ version: number }>(lost.id, 'commit')
  return done?.version ?? (await store.routes.version())
}
