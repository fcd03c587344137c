/**
 * Every operation takes an app from the instances it has to those it should have (DESIGN D2). This file says which
 * those are, as pure data; `workflows/roll-out.ts` carries a plan out.
 */
import { CoppiceError } from './errors.ts'
import { instanceId } from './names.ts'
import type { App, Instance } from './records.ts'
import type { AppMode, OperationType } from './states.ts'

export type PlannedInstance = { id: string; slot: number }

export type Plan = {
  app: string
  operation: string
  type: OperationType
  /** The deployment that runs afterwards; null when nothing does. */
  deployment: string | null
  /** Whether the source has to be taken and built first; false runs the artifact that is there (R4.1). */
  build: boolean
  /** New instances in the order of their slots; the first is the build instance (R3.3). */
  add: PlannedInstance[]
  /** Instances that serve now and leave after the pivot. */
  remove: PlannedInstance[]
  /** Instances that serve before and after. */
  keep: PlannedInstance[]
  /** What the app is after the pivot. */
  target: { mode: AppMode; instances: number; computeSize: string; desired: 'running' | 'stopped'; exists: boolean }
  /** How long an instance that leaves may finish what it has in flight, in ms. */
  drainTimeoutMs: number
}

/** What an operation wants. Kept with the operation, so that its plan can be made when it is admitted. */
export type Change =
  /** Run a new deployment. */
  | { type: 'deploy' }
  /** Standard to scaled or back; always with one instance (R5.2). */
  | { type: 'convert'; mode: AppMode }
  /** Another number of instances, another compute size, or both (R6.1). */
  | { type: 'resize'; instances?: number; computeSize?: string }
  /** Run an earlier deployment again, from the artifact that is kept. */
  | { type: 'rollback'; deployment: string }
  | { type: 'start' | 'stop' | 'restart' | 'delete' }

export type PlanInput = {
  app: App
  /** Everything that serves now. */
  serving: Instance[]
  operation: string
  change: Change
  /** The new deployment of a deploy. */
  deployment: string | null
  drainTimeoutMs: number
}

/**
 * What `change` means for `app`.
 *
 * @throws CoppiceError InvalidState or InvalidInput when it makes no sense in the state the app is in.
 */
export function planOperation({ app, serving, operation, change, deployment, drainTimeoutMs }: PlanInput): Plan {
  const present = serving.map(({ id, slot }) => ({ id, slot }))
  const fresh = (count: number, from = 0): PlannedInstance[] =>
    Array.from({ length: count - from }, (_, i) => ({ id: instanceId(app.name, operation, from + i), slot: from + i }))
  // A stopped app, or one that was never deployed, has no instances: it only changes what it will be (R5.0).
  const runs = app.desired === 'running' && app.activeDeployment !== null

  type Part = Partial<Pick<Plan, 'deployment' | 'build' | 'add' | 'remove' | 'keep'>> & {
    target?: Partial<Plan['target']>
  }
  const plan = (part: Part): Plan => ({
    app: app.name,
    operation,
    type: change.type,
    deployment: app.activeDeployment,
    build: false,
    add: [],
    remove: present,
    keep: [],
    drainTimeoutMs,
    ...part,
    target: {
      mode: app.mode,
      instances: app.instances,
      computeSize: app.computeSize,
      desired: app.desired,
      exists: true,
      ...part.target,
    },
  })
  const replaceAll = (part: Part): Plan =>
    plan({ add: runs ? fresh(part.target?.instances ?? app.instances) : [], ...part })

  switch (change.type) {
    case 'deploy':
      if (app.desired === 'stopped')
        throw new CoppiceError('InvalidState', `App ${app.name} is stopped. Start the app compute to deploy the app`)
      return plan({ deployment, build: true, add: fresh(app.instances) })
    case 'convert':
      if (app.mode === change.mode) throw new CoppiceError('InvalidState', `App ${app.name} is ${app.mode} already`)
      return replaceAll({ target: { mode: change.mode, instances: 1 } })
    case 'resize':
      return planResize()
    case 'rollback':
      if (app.desired === 'stopped')
        throw new CoppiceError('InvalidState', `App ${app.name} is stopped. Start it before rolling back`)
      if (change.deployment === app.activeDeployment)
        throw new CoppiceError('InvalidState', `App ${app.name} runs deployment ${change.deployment} already`)
      return plan({ deployment: change.deployment, add: fresh(app.instances) })
    case 'start':
      if (app.desired === 'running' && (present.length > 0 || app.activeDeployment === null))
        throw new CoppiceError('InvalidState', `App ${app.name} is started already`)
      // Without a deployment there is nothing to run yet: the app is active and waits for its first one.
      return plan({
        add: app.activeDeployment === null ? [] : fresh(app.instances),
        target: { desired: 'running' },
      })
    case 'restart':
      if (!runs) throw new CoppiceError('InvalidState', `App ${app.name} does not run, so there is nothing to restart`)
      return replaceAll({})
    case 'stop':
      if (app.desired === 'stopped' && present.length === 0)
        throw new CoppiceError('InvalidState', `App ${app.name} is stopped already`)
      return plan({ target: { desired: 'stopped' } })
    case 'delete':
      return plan({ deployment: null, target: { desired: 'stopped', exists: false } })
  }

  function planResize(): Plan {
    const { instances = app.instances, computeSize = app.computeSize } = change as Extract<Change, { type: 'resize' }>
    if (app.mode === 'standard' && instances !== 1)
      throw new CoppiceError(
        'InvalidState',
        `App ${app.name} is a standard app, which has exactly one instance; convert with 1 first, then raise the number`,
      )
    if (instances === app.instances && computeSize === app.computeSize)
      throw new CoppiceError('InvalidState', `App ${app.name} has ${instances} instances of ${computeSize} already`)
    const target = { instances, computeSize }
    // Another size is another machine for every instance; another number leaves those that stay alone (R8.2).
    if (computeSize !== app.computeSize) return replaceAll({ target })
    const taken = new Set(present.map(({ slot }) => slot))
    return plan({
      add: runs ? fresh(instances).filter(({ slot }) => !taken.has(slot)) : [],
      keep: present.filter(({ slot }) => slot < instances),
      remove: present.filter(({ slot }) => slot >= instances),
      target,
    })
  }
}
