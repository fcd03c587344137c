/** Instances come and go (DESIGN D5, D7). */
import type { PlannedInstance } from '../domain/plan.ts'
import type { Instances } from '../runtime/contracts.ts'
import type { Store } from '../store/store.ts'
import { type Faults, noFaults } from './faults.ts'
import { type NamedStep, pulsing, withStep } from './step.ts'

export type RunningDeps = {
  store: Store
  instances: Instances
  /** ms by a clock that never jumps: a drain lasts as long as it lasts (R13.8). */
  elapsed: () => number
  faults?: Faults
}

export const createRunningActivities = (deps: RunningDeps) => {
  const { store, instances, elapsed, faults = noFaults } = deps
  return {
    /** Brings an instance up and waits until it is healthy. */
    async startInstance(owner: string, instance: PlannedInstance, words: string): Promise<{ address: string }> {
      const ref: NamedStep = { operation: owner, step: `start/${instance.id}`, words }
      return withStep(deps, ref, async ({ signal, note }) => {
        const { address, startMs } = await instances.start(instance.id, { signal, onProgress: note })
        note(`healthy after ${Math.round(startMs)} ms`)
        return { address }
      })
    },

    /**
     * Undo of `startInstance`: nothing of the instance is left. It need never have been started.
     *
     * @param owner the operation that owns the app now: the one that undoes itself, or its repair.
     */
    async removeInstance(operation: string, owner: string, id: string): Promise<void> {
      await pulsing(async () => {
        await store.operations.assertUndoable(operation, owner)
        await faults(`remove/${id}`, 'before', { operation })
        await instances.stop(id)
        await faults(`remove/${id}`, 'effect', { operation })
      })
    },

    /** Waits until every router that counts has the table of `version` in all its processes and on its disk. */
    async publishRoutes(owner: string, version: number): Promise<{ routers: number }> {
      const ref: NamedStep = {
        operation: owner,
        step: `publish/${version}`,
        words: 'Publish the routes and await every router',
      }
      return withStep(deps, ref, async ({ signal, note }) => {
        let said = ''
        return store.watch.until(async () => {
          const { complete, waitingFor, controlPlaneDown } = await store.routers.acknowledged(version)
          if (complete) {
            const routers = (await store.routers.list()).filter((router) => router.counted).length
            note(routers === 1 ? 'one router has it' : `${routers} routers have it`)
            return { routers }
          }
          const words = controlPlaneDown
            ? 'the control plane is down; routers keep their last table until it is back'
            : `waiting for ${waitingFor.join(', ')}`
          if (words !== said) note(words)
          said = words
          return null
        }, signal)
      })
    },

    /** Lets an instance finish what it has in flight, at most until the drain timeout (R6.2). */
    async drainInstance(
      owner: string,
      instance: PlannedInstance,
      options: { version: number; timeoutMs: number },
    ): Promise<{ result: 'drained' | 'timedOut' }> {
      const ref: NamedStep = {
        operation: owner,
        step: `drain/${instance.id}`,
        words: `Let the instance in slot ${instance.slot} finish what it has in flight`,
      }
      return withStep(deps, ref, async ({ signal, note }) => {
        const deadline = elapsed() + options.timeoutMs
        const result = await store.watch.until<'drained' | 'timedOut'>(async () => {
          if ((await store.routers.inFlight(instance.id, options.version)) === 0) return 'drained'
          return elapsed() >= deadline ? 'timedOut' : null
        }, signal)
        if (result === 'timedOut') note(`gave up waiting after ${options.timeoutMs / 1000} s`)
        return { result }
      })
    },

    /** Stops what left and removes it. */
    async stopInstance(owner: string, instance: PlannedInstance): Promise<void> {
      const ref: NamedStep = {
        operation: owner,
        step: `stop/${instance.id}`,
        words: `Stop the instance in slot ${instance.slot}`,
      }
      await withStep(deps, ref, async ({ note }) => {
        const { left } = await instances.stop(instance.id)
        // The app must not wait for it (R13.8).
        if (left !== null) note(left)
        return null
      })
    },
  }
}
