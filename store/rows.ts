/** Rows of the database as records of the domain; the only place where one becomes the other. */
import type { Selectable } from 'kysely'
import type { HealthCheck } from '../domain/health-check.ts'
import type { Change, Plan } from '../domain/plan.ts'
import type {
  App,
  AppSettings,
  BuiltWith,
  Deployment,
  HistoryEvent,
  Instance,
  Operation,
  OperationFailure,
  Step,
} from '../domain/records.ts'
import { parseJson } from './context.ts'
import type { Schema } from './schema.ts'

type HealthColumns = Pick<Selectable<Schema['apps']>, 'health_path' | 'health_timeout_ms' | 'silence_ms'>

const toHealth = (row: HealthColumns): HealthCheck => ({
  path: row.health_path,
  timeoutMs: row.health_timeout_ms,
  silenceMs: row.silence_ms,
})

export const fromHealth = (health: HealthCheck): HealthColumns => ({
  health_path: health.path,
  health_timeout_ms: health.timeoutMs,
  silence_ms: health.silenceMs,
})

export const toApp = (row: Selectable<Schema['apps']>): App => ({
  name: row.name,
  id: row.id,
  description: row.description,
  mode: row.mode as App['mode'],
  instances: row.instances,
  computeSize: row.compute_size,
  place: row.place === 1,
  preinstalled: row.preinstalled === 1,
  computeState: row.compute_state as App['computeState'],
  computeMessage: row.compute_message,
  desired: row.desired as App['desired'],
  activeDeployment: row.active_deployment,
  pendingDeployment: row.pending_deployment,
  operation: row.operation,
  defaultSourceCodePath: row.default_source_code_path,
  health: toHealth(row),
  port: row.port,
  routeVersion: row.route_version,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  creator: row.creator,
})

export const toDeployment = (row: Selectable<Schema['deployments']>): Deployment => ({
  id: row.id,
  app: row.app,
  operation: row.operation,
  state: row.state as Deployment['state'],
  message: row.message,
  sourceCodePath: row.source_code_path,
  source: row.source,
  artifact: row.artifact,
  builtWith: parseJson<BuiltWith>(row.built_with),
  mode: 'SNAPSHOT',
  command: parseJson<string[]>(row.command),
  envNames: parseJson<string[]>(row.env_names) ?? [],
  health: toHealth(row),
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  creator: row.creator,
})

export const toOperation = (row: Selectable<Schema['operations']>): Operation => ({
  id: row.id,
  app: row.app,
  type: row.type as Operation['type'],
  state: row.state as Operation['state'],
  phase: row.phase as Operation['phase'],
  door: row.door as Operation['door'],
  startedBy: row.started_by,
  workflowId: row.workflow_id,
  runId: row.run_id,
  deployment: row.deployment,
  change: parseJson<Change>(row.change),
  settings: parseJson<AppSettings>(row.settings),
  plan: parseJson<Plan>(row.plan),
  createdApp: row.created_app === 1,
  repairs: row.repairs,
  failure: parseJson<OperationFailure>(row.failure),
  requestedAt: row.requested_at,
  startedAt: row.started_at,
  endedAt: row.ended_at,
})

export const toStep = (row: Selectable<Schema['operation_steps']>): Step => ({
  operation: row.operation,
  step: row.step,
  words: row.words,
  state: row.state as Step['state'],
  detail: row.detail,
  startedAt: row.started_at,
  endedAt: row.ended_at,
})

export const toInstance = (row: Selectable<Schema['instances']>): Instance => ({
  id: row.id,
  app: row.app,
  slot: row.slot,
  deployment: row.deployment,
  operation: row.operation,
  mode: row.mode as Instance['mode'],
  computeSize: row.compute_size,
  desired: row.desired as Instance['desired'],
  role: row.role as Instance['role'],
  observed: row.observed as Instance['observed'],
  address: row.address,
  pid: row.pid,
  crashes: row.crashes,
  restartAt: row.restart_at,
  message: row.message,
  logLines: parseJson<string[]>(row.log_lines) ?? [],
  createdAt: row.created_at,
  startedAt: row.started_at,
})

export const toEvent = (row: Selectable<Schema['events']>): HistoryEvent => ({
  seq: row.seq,
  at: row.at,
  app: row.app,
  operation: row.operation,
  instance: row.instance,
  kind: row.kind,
  message: row.message,
  data: parseJson<Record<string, unknown>>(row.data),
})
