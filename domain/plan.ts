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
  target: { mode: AppMode; instances: number; desired: 'running' | 'stopped'; exists: boolean }
  /** How long an instance that leaves may finish what it has in flight, in ms. */
  drainTimeoutMs: number
}

export type PlanInput = {
  app: App
  /** Everything that serves now. */
  serving: Instance[]
  operation: string
  type: Exclude<OperationType, 'repair'>
  /** The deployment to run: the new one of a deploy, else the active one. */
  deployment: string | null
  /** For a deploy: how many instances, when it should change. */
  instances?: number
  drainTimeoutMs: number
}

/**
 * What `type` has to do to `app`.
 *
 * @throws CoppiceError InvalidState when the operation makes no sense in the state the app is in.
 */
export function planOperation(input: PlanInput): Plan {
  const { app, serving, operation, type } = input
  const count = input.instances ?? app.instances
  const present = serving.map(({ id, slot }) => ({ id, slot }))
  const fresh = (): PlannedInstance[] =>
    Array.from({ length: count }, (_, slot) => ({ id: instanceId(app.name, operation, slot), slot }))
  const plan = (
    part: Pick<Plan, 'deployment' | 'build' | 'add' | 'remove'> & { target: Partial<Plan['target']> },
  ): Plan => ({
    app: app.name,
    operation,
    type,
    keep: [],
    drainTimeoutMs: input.drainTimeoutMs,
    ...part,
    target: { mode: app.mode, instances: count, desired: 'running', exists: true, ...part.target },
  })

  switch (type) {
    case 'deploy':
      if (app.desired === 'stopped')
        throw new CoppiceError('InvalidState', `App ${app.name} is stopped. Start the app compute to deploy the app`)
      return plan({ deployment: input.deployment, build: true, add: fresh(), remove: present, target: {} })
    case 'start':
      if (app.desired === 'running' && (present.length > 0 || app.activeDeployment === null))
        throw new CoppiceError('InvalidState', `App ${app.name} is started already`)
      // Without a deployment there is nothing to run yet: the app is active and waits for its first one.
      return plan({
        deployment: app.activeDeployment,
        build: false,
        add: app.activeDeployment === null ? [] : fresh(),
        remove: present,
        target: {},
      })
    case 'restart':
      if (app.activeDeployment === null || app.desired === 'stopped')
        throw new CoppiceError('InvalidState', `App ${app.name} does not run, so there is nothing to restart`)
      return plan({ deployment: app.activeDeployment, build: false, add: fresh(), remove: present, target: {} })
    case 'stop':
      if (app.desired === 'stopped' && present.length === 0)
        throw new CoppiceError('InvalidState', `App ${app.name} is stopped already`)
      return plan({
        deployment: app.activeDeployment,
        build: false,
        add: [],
        remove: present,
        target: { desired: 'stopped' },
      })
    case 'delete':
      return plan({
        deployment: null,
        build: false,
        add: [],
        remove: present,
        target: { desired: 'stopped', exists: false },
      })
  }
}
