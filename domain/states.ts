/**
 * The closed unions of the system. Names follow the public API of the product that Coppice is compatible with
 * (docs/rules.md), so that a client library written for it understands every answer.
 */

/** How an app is run. `standard`: exactly one instance. `scaled`: 1 to the limit, with session affinity (R5.0). */
export type AppMode = 'standard' | 'scaled'

/** What the compute of an app is doing. Moved by operations only. */
export type ComputeState = 'ACTIVE' | 'DELETING' | 'ERROR' | 'STARTING' | 'STOPPED' | 'STOPPING' | 'UPDATING'

/** What people see of the application itself; derived from the instances, never stored. */
export type ApplicationState = 'CRASHED' | 'DEPLOYING' | 'RUNNING' | 'UNAVAILABLE'

export type DeploymentState = 'CANCELLED' | 'FAILED' | 'IN_PROGRESS' | 'SUCCEEDED'

/** The operations on an app; each is a workflow type of the same name (DESIGN D1). */
export const OPERATION_TYPES = [
  'deploy',
  'convert',
  'resize',
  'rollback',
  'start',
  'stop',
  'restart',
  'delete',
  'repair',
] as const
export type OperationType = (typeof OPERATION_TYPES)[number]

/**
 * An operation starts as REQUESTED (the API wrote it down and is about to start its workflow) or RUNNING (admitted),
 * and ends in one of the other three. The saga moves it; `repair` ends those that lost their workflow.
 */
export type OperationState = 'REQUESTED' | 'RUNNING' | 'SUCCEEDED' | 'FAILED' | 'CANCELLED'

/** Which side of the pivot an operation is on: before it everything can be undone, after it everything is retried. */
export type SagaPhase = 'compensable' | 'committed'

/**
 * What sagas want of an instance. `running`: it should exist, the reconciler restarts it when it dies.
 * `retired`: it must go; a `start` that comes late for it fails with InstanceRetired and never brings it back.
 */
export type DesiredState = 'running' | 'retired'

/**
 * The part an instance plays in the route table. `standby`: started by an operation that has not pivoted yet, in no
 * table. `serving`: gets new sessions. `draining`: finishes what is in flight and gets nothing new (R6.2).
 */
export type RouteRole = 'standby' | 'serving' | 'draining'

/**
 * What the provider saw of an instance last.
 * pending → starting → running ⇄ (crashed → starting); `crashLoop` is `crashed` with a restart that is being held
 * back; `suspended` is running with its process stopped by a signal (SIGSTOP); `gone` is the end. Written by the worker
 * only.
 */
export type ObservedState = 'pending' | 'starting' | 'running' | 'suspended' | 'crashed' | 'crashLoop' | 'gone'

export type StepState = 'running' | 'done' | 'failed' | 'undone'

export function assertNever(value: never): never {
  throw new Error(`unexpected value ${JSON.stringify(value)}`)
}
