/** What the runtime knows of the inventory, and what it needs to start an instance. */
import type { BuildingDeps } from '../activities/building.ts'
import { CoppiceError } from '../domain/errors.ts'
import type { HealthCheck } from '../domain/health-check.ts'
import type { App, Deployment, Instance } from '../domain/records.ts'
import { createSingleFlight } from '../runtime/builders/single-flight.ts'
import type { Artifacts, Builder, InstanceInventory, InstanceSpec, SpecCaller } from '../runtime/contracts.ts'
import { makeEnvironment } from '../runtime/environment.ts'
import type { Store } from '../store/store.ts'
import type { Logger } from './logger.ts'
import type { WorkerOptions } from './options.ts'

export type InstanceInventoryDeps = {
  store: Store
  artifacts: Pick<Artifacts, 'open'>
  builder: Builder
  /** Where the lines of a build go; called once a build. */
  openBuildLog: BuildingDeps['openBuildLog']
  logger: Logger
  options: Pick<WorkerOptions, 'apiUrl' | 'workspaceId' | 'urlTemplate'>
  /** Directories of node and npm. */
  toolPath: readonly string[]
}

export function createInstanceInventory(deps: InstanceInventoryDeps): InstanceInventory {
  const { store, artifacts, builder, options } = deps

  /** The instances of a deployment start together, and one of them builds. */
  const share = createSingleFlight()

  async function openOrRebuild(app: App, deployment: Deployment, caller: SpecCaller) {
    const { artifact: key, source } = deployment
    const whole = key === null ? null : await artifacts.open(key)
    if (whole !== null) return whole
    if (key === null || source === null) return gone(app, deployment)
    await share(deployment.id, { ...caller, log: () => {} }, (job) => rebuild(app, deployment, job))
    return (await artifacts.open(key)) ?? gone(app, deployment)
  }

  /** A damaged artifact is built again from the source that the deployment keeps; it has the same key (R4.3). */
  async function rebuild(app: App, deployment: Deployment, { signal, onProgress }: SpecCaller): Promise<void> {
    const { artifact: key, builtWith } = deployment
    deps.logger.warn({ app: app.name, artifact: key }, 'artifact is damaged; building it again')
    const log = await deps.openBuildLog(app.name, deployment.id)
    try {
      log.write('coppice: the artifact was damaged and is built again')
      for (const preinstalled of builtWith === null ? guesses(app) : [builtWith.preinstalled ?? false]) {
        const request = {
          app: app.name,
          source: deployment.source as string,
          preinstalled,
          command: deployment.command,
          holder: deployment.id,
        }
        const { artifact } = await builder.build(request, {
          signal,
          log: log.write,
          onProgress: (words) => onProgress(`its artifact was damaged and is built again: ${words}`),
        })
        if (artifact === key) return
      }
      log.write('coppice: what was built is not what it was')
    } finally {
      await log.close()
    }
  }

  /** An instance that an update starts has to meet the check that the update brings, which is the app's from the pivot on. */
  async function healthOf({ role, operation }: Instance, deployment: Deployment): Promise<HealthCheck> {
    const update = role === 'standby' ? await store.operations.get(operation) : null
    return { ...deployment.health, ...update?.settings?.health }
  }

  return {
    list: () => store.instances.records(),
    get: (id) => store.instances.record(id),
    silent: () => store.routers.silent(),
    observe: (id, patch) => store.instances.observe(id, patch),
    retire: (id) => store.instances.retire(id),
    forget: (id) => store.instances.forget(id),
    event: (event) => store.instances.event(event),
    spec: async (id, caller): Promise<InstanceSpec | null> => {
      const instance = await store.instances.get(id)
      const app = instance === null ? null : await store.apps.get(instance.app)
      const deployment = instance === null ? null : await store.deployments.get(instance.deployment)
      if (instance === null || app === null || deployment === null) return null
      const artifact = await openOrRebuild(app, deployment, caller)
      const health = await healthOf(instance, deployment)
      const secrets = await store.secrets.values(app.name)
      const { env, portVariables, ignored } = makeEnvironment({
        app: app.name,
        slot: instance.slot,
        deployment: deployment.id,
        url: options.urlTemplate.replace('{app}', app.name),
        host: options.apiUrl,
        workspaceId: options.workspaceId,
        run: artifact.run,
        overrides: await store.deployments.env(deployment.id),
        secret: (name) => secrets.get(name),
        toolPath: deps.toolPath,
        inherited: process.env,
      })
      if (ignored.length > 0)
        deps.logger.warn({ app: app.name, ignored }, 'variables that the platform sets itself were left out')
      return {
        id,
        app: app.name,
        slot: instance.slot,
        deployment: deployment.id,
        artifactPath: artifact.path,
        links: artifact.run.links,
        command: deployment.command ?? artifact.run.command,
        env,
        portVariables,
        health: { path: health.path, timeoutMs: health.timeoutMs },
        mode: instance.mode,
      }
    },
  }
}

/** For a deployment of a version that did not write down what it was built with: the app may have opted out since. */
const guesses = (app: App): boolean[] => [app.preinstalled, !app.preinstalled]

function gone(app: App, deployment: Deployment): never {
  throw new CoppiceError(
    'Internal',
    `The artifact of deployment ${deployment.id} of ${app.name} is gone and cannot be built again as it was; deploy again`,
  )
}
