/**
 * The records of the inventory as the rest of the system sees them. Times are Unix milliseconds.
 */
import type { ErrorCode } from './errors.ts'
import type { HealthCheck } from './health-check.ts'
import type { Change, Plan } from './plan.ts'
import type {
  AppMode,
  ComputeState,
  DeploymentState,
  DesiredState,
  ObservedState,
  OperationState,
  OperationType,
  RouteRole,
  SagaPhase,
  StepState,
} from './states.ts'

/** What the holder of a token may do: an admin also changes the workspace, its tokens and its limits (R2.1). */
export type Role = 'admin' | 'user'

export type App = {
  name: string
  id: string
  description: string
  mode: AppMode
  /** How many instances it has or will have when it runs: 1 for a standard app. */
  instances: number
  computeSize: string
  /** It holds one of the places for scaled apps (R2.3). */
  place: boolean
  /** With the pre-installed Python libraries (R3.2, R5.4). */
  preinstalled: boolean
  computeState: ComputeState
  computeMessage: string
  /** Whether it should run; survives a stop of the whole platform. */
  desired: 'running' | 'stopped'
  activeDeployment: string | null
  pendingDeployment: string | null
  /** The operation that owns the app: the fence (DESIGN D4). */
  operation: string | null
  defaultSourceCodePath: string | null
  health: HealthCheck
  /** Port on which routers serve this app alone (DESIGN D13). */
  port: number | null
  routeVersion: number
  createdAt: number
  updatedAt: number
  creator: string
}

/**
 * What of an app an update changes without any instance being started for it. What is left out stays as it is.
 * `preinstalled` can only be given up (R5.4).
 */
export type AppSettings = { description?: string; health?: Partial<HealthCheck>; preinstalled?: false }

/** What decided its build beside its source and this machine: with it the same can be built again. */
export type BuiltWith = { preinstalled: readonly string[] | null }

export type Deployment = {
  id: string
  app: string
  operation: string
  state: DeploymentState
  message: string
  sourceCodePath: string | null
  /** Digest of the source snapshot; null until the snapshot is taken. */
  source: string | null
  artifact: string | null
  /** Null when it is not built, or was by a version that did not write it down. */
  builtWith: BuiltWith | null
  mode: 'SNAPSHOT'
  /** Overrides the command of app.yaml. */
  command: string[] | null
  /** Names only; the values are encrypted in the store and read for an instance's start alone (R3.7). */
  envNames: string[]
  /** What it was started with, and what the app has from its pivot on. */
  health: HealthCheck
  createdAt: number
  updatedAt: number
  creator: string
}

export type OperationFailure = {
  code: ErrorCode
  message: string
  /** The step that failed, in plain words. */
  step?: string
  field?: string
  logLines?: string[]
  undoFailures?: string[]
}

export type Operation = {
  id: string
  app: string
  type: OperationType
  state: OperationState
  phase: SagaPhase
  /** Through which door it came. */
  door: 'api' | 'temporal' | 'platform'
  startedBy: string
  workflowId: string | null
  runId: string | null
  deployment: string | null
  /** What it wants; null for a repair. */
  change: Change | null
  /** What it changes beside that, at its pivot (R5.0), perhaps nothing; null for one that is no update. */
  settings: AppSettings | null
  plan: Plan | null
  /** The operation brought the app into being, so that its undo takes it away again. */
  createdApp: boolean
  /** For a repair: the operation that it takes over. */
  repairs: string | null
  failure: OperationFailure | null
  requestedAt: number
  startedAt: number | null
  endedAt: number | null
}

export type Step = {
  operation: string
  step: string
  words: string
  state: StepState
  detail: string
  startedAt: number
  endedAt: number | null
}

export type Instance = {
  id: string
  app: string
  slot: number
  deployment: string
  operation: string
  /** What the app was to be when it was started: how its health is judged, and how much it may use. */
  mode: AppMode
  computeSize: string
  desired: DesiredState
  role: RouteRole
  observed: ObservedState
  address: string | null
  pid: number | null
  crashes: number
  restartAt: number | null
  message: string | null
  logLines: string[]
  createdAt: number
  startedAt: number | null
}

export type HistoryEvent = {
  seq: number
  at: number
  app: string
  operation: string | null
  instance: string | null
  /** `step`, `operation`, or an InstanceEventKind. */
  kind: string
  message: string
  data: Record<string, unknown> | null
}
