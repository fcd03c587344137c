/** Records as the API shows them. Names are the product's; what it does not have is marked as ours. */
import { formatDuration } from '../domain/durations.ts'
import { withHint } from '../domain/errors.ts'
import type { HealthCheck } from '../domain/health-check.ts'
import type { App, Deployment, Instance, Operation, OperationFailure, Step } from '../domain/records.ts'
import { type ApplicationState, assertNever } from '../domain/states.ts'
import { type ComputeSizes, sizeOf } from '../store/workspace.ts'
import { PREINSTALLED_FLAG } from './app-update.ts'

/** Whether a compute size is a limit that instances are held to, or what they are asked to keep to (R1.3). */
export type ComputeLimits = 'enforced' | 'advisory'

export type Urls = { url: string; urls: string[] }

/** Where people reach an app: by host name, and at a port of its own where names do not resolve (DESIGN D13). */
export function appUrls(
  app: Pick<App, 'name' | 'port'>,
  options: { domains: string[]; urlTemplate: string | null; router: string; takenPorts?: number[] },
): Urls {
  const router = new URL(options.router)
  const first = options.urlTemplate === null ? [] : [options.urlTemplate.replace('{app}', app.name)]
  const byName = options.domains.map((domain) => {
    const url = new URL(router)
    url.hostname = `${app.name}.${domain}`
    return url.origin
  })
  // A platform that was restored beside its original has the ports of the same apps, and the original listens there.
  const hasPort = app.port !== null && !options.takenPorts?.includes(app.port)
  const byPort = !hasPort ? [] : [`${router.protocol}//${router.hostname}:${app.port}`]
  const urls = [...new Set([...first, ...byName, ...byPort])]
  return { url: urls[0] ?? router.origin, urls }
}

export type AppParts = {
  app: App
  instances: Instance[]
  active: Deployment | null
  pending: Deployment | null
  urls: Urls
  computeLimits: ComputeLimits
  sizes: ComputeSizes
}

export function appView({ app, instances, active, pending, urls, computeLimits, sizes }: AppParts) {
  const serving = instances.filter((instance) => instance.role === 'serving')
  // A stopped app has no deployment "deployed to compute"; the product leaves both out, and start takes the last one.
  const deployed = app.computeState !== 'STOPPED'
  return {
    name: app.name,
    id: app.id,
    description: app.description,
    url: urls.url,
    compute_size: app.computeSize,
    ...(app.mode === 'scaled' && {
      compute_min_instances: app.instances,
      compute_max_instances: app.instances,
    }),
    compute_status: { state: app.computeState, message: app.computeMessage, active_instances: serving.length },
    app_status: appStatus(app, serving, pending),
    ...(deployed && active !== null && { active_deployment: deploymentView(active) }),
    ...(deployed && pending !== null && { pending_deployment: deploymentView(pending) }),
    ...(app.defaultSourceCodePath !== null && { default_source_code_path: app.defaultSourceCodePath }),
    create_time: time(app.createdAt),
    update_time: time(app.updatedAt),
    creator: app.creator,
    updater: app.creator,
    // Ours:
    urls: urls.urls,
    mode: app.mode,
    health_check: healthView(app.health),
    compute_limits: computeView(app, instances, computeLimits, sizes),
    ...(app.mode === 'scaled' && app.preinstalled && { effective_compatibility_flags: [PREINSTALLED_FLAG] }),
    ...(app.operation !== null && { operation: app.operation }),
  }
}
export type AppView = ReturnType<typeof appView>

/** R1.3: what an instance may take, what all take together, and whether anything holds them to it. */
function computeView(app: App, instances: Instance[], limits: ComputeLimits, sizes: ComputeSizes) {
  const { vcpus, memoryGb } = sizeOf(sizes, app.computeSize)
  const present = instances.filter(({ observed }) => ['running', 'suspended', 'starting'].includes(observed))
  const sum = (of: 'vcpus' | 'memoryGb') =>
    present.reduce((total, { computeSize }) => total + sizeOf(sizes, computeSize)[of], 0)
  return {
    limits,
    instance: { vcpus, memory_gb: memoryGb },
    all: { instances: present.length, vcpus: sum('vcpus'), memory_gb: sum('memoryGb') },
  }
}

/** What people see of the application: derived from its instances, never stored. */
function appStatus(
  app: App,
  serving: Instance[],
  pending: Deployment | null,
): { state: ApplicationState; message: string; running_instances: number } {
  const running = serving.filter((instance) => instance.observed === 'running').length
  // What it says of one that runs is what it suffers from: it does not answer.
  const ailing = serving.filter((instance) => instance.observed !== 'running' || instance.message !== null)
  const status = (state: ApplicationState, message: string) => ({ state, message, running_instances: running })

  if (app.desired === 'stopped' && running === 0) return status('UNAVAILABLE', 'App status is unavailable.')
  if (running > 0) {
    const all = ailing.length === 0
    return status(
      'RUNNING',
      all
        ? 'App has status: App is running'
        : `${running} of ${serving.length} instances run. ${ailing.map(ailment).join(' ')}`,
    )
  }
  if (ailing.some((instance) => instance.observed === 'crashed' || instance.observed === 'crashLoop'))
    return status('CRASHED', ailing.map(ailment).join(' '))
  if (pending !== null) return status('DEPLOYING', 'App is being deployed.')
  if (serving.length > 0) return status('UNAVAILABLE', ailing.map(ailment).join(' '))
  return status('UNAVAILABLE', 'App has not been deployed yet.')
}

/** R12.9: what is wrong with an instance, with the last it said. */
export function ailment(instance: Instance): string {
  const where = `The instance in slot ${instance.slot}`
  const why = instance.message === null ? '' : ` (${instance.message})`
  const log = instance.logLines.length === 0 ? '' : ` Its last log lines: ${instance.logLines.slice(-5).join(' | ')}`
  switch (instance.observed) {
    case 'pending':
    case 'starting':
      return `${where} is starting.`
    case 'running':
      return `${where} runs${why}${unlessWell(instance)}.`
    case 'suspended':
      return `${where} is stopped by a signal${unlessWell(instance)}.`
    case 'crashed':
      return `${where} has crashed${why}.${log}`
    case 'crashLoop':
      return `CrashLoop: ${where} has crashed ${instance.crashes} times in a row${why}${nextTry(instance)}.${log}`
    case 'gone':
      return `${where} is gone.`
    default:
      return assertNever(instance.observed)
  }
}

const unlessWell = (instance: Instance): string =>
  instance.restartAt === null ? '' : `; unless that ends, it is started again at ${time(instance.restartAt)}`

const nextTry = (instance: Instance): string =>
  instance.restartAt === null ? '' : `; it is started again at ${time(instance.restartAt)}`

export const healthView = ({ path, timeoutMs, silenceMs }: HealthCheck) => ({
  ...(path !== null && { path }),
  timeout: formatDuration(timeoutMs),
  silence_timeout: formatDuration(silenceMs),
})

export function deploymentView(deployment: Deployment) {
  return {
    deployment_id: deployment.id,
    ...(deployment.sourceCodePath !== null && { source_code_path: deployment.sourceCodePath }),
    mode: deployment.mode,
    ...(deployment.command !== null && { command: deployment.command }),
    // Names only: values are for the app alone (R3.7).
    ...(deployment.envNames.length > 0 && { env_vars: deployment.envNames.map((name) => ({ name })) }),
    health_check: healthView(deployment.health),
    status: { state: deployment.state, message: deployment.message },
    creator: deployment.creator,
    create_time: time(deployment.createdAt),
    update_time: time(deployment.updatedAt),
    // Ours:
    ...(deployment.source !== null && { source_digest: deployment.source }),
    operation: deployment.operation,
  }
}
export type DeploymentView = ReturnType<typeof deploymentView>

export function operationView(operation: Operation) {
  return {
    id: operation.id,
    app: operation.app,
    type: operation.type,
    state: operation.state,
    phase: operation.phase,
    started_by: operation.startedBy,
    door: operation.door,
    request_time: time(operation.requestedAt),
    ...(operation.startedAt !== null && { start_time: time(operation.startedAt) }),
    ...(operation.endedAt !== null && { end_time: time(operation.endedAt) }),
    ...(operation.deployment !== null && { deployment_id: operation.deployment }),
    ...(operation.workflowId !== null && { workflow_id: operation.workflowId }),
    ...(operation.runId !== null && { run_id: operation.runId }),
    ...(operation.repairs !== null && { repairs: operation.repairs }),
    ...(operation.failure !== null && { failure: failureView(operation.failure) }),
  }
}

export function failureView(failure: OperationFailure) {
  return {
    code: failure.code,
    message: withHint(failure.code, failure.message),
    ...(failure.step !== undefined && { step: failure.step }),
    ...(failure.field !== undefined && { field: failure.field }),
    ...(failure.logLines !== undefined && { log_lines: failure.logLines }),
    ...(failure.undoFailures !== undefined && { undo_failures: failure.undoFailures }),
  }
}

export type OperationView = ReturnType<typeof operationView>

export function stepView(step: Step) {
  return {
    step: step.step,
    words: step.words,
    state: step.state,
    detail: step.detail,
    start_time: time(step.startedAt),
    ...(step.endedAt !== null && { end_time: time(step.endedAt), duration_ms: step.endedAt - step.startedAt }),
  }
}
export type StepView = ReturnType<typeof stepView>

export function instanceView(instance: Instance) {
  return {
    id: instance.id,
    slot: instance.slot,
    deployment_id: instance.deployment,
    role: instance.role,
    state: instance.observed,
    crashes: instance.crashes,
    ...(instance.address !== null && { address: instance.address }),
    ...(instance.pid !== null && { pid: instance.pid }),
    ...(instance.message !== null && { message: instance.message }),
    ...(instance.restartAt !== null && { restart_time: time(instance.restartAt) }),
    ...(instance.startedAt !== null && { start_time: time(instance.startedAt) }),
    ...(instance.logLines.length > 0 && { log_lines: instance.logLines }),
  }
}
export type InstanceView = ReturnType<typeof instanceView>

const time = (ms: number): string => new Date(ms).toISOString()
