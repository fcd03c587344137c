/** What the runtime knows of the inventory, and what it needs to start an instance. */
import { CoppiceError } from '../domain/errors.ts'
import type { Artifacts, InstanceInventory, InstanceSpec } from '../runtime/contracts.ts'
import { makeEnvironment } from '../runtime/environment.ts'
import type { Store } from '../store/store.ts'
import type { WorkerOptions } from './options.ts'

export type InstanceInventoryDeps = {
  store: Store
  artifacts: Pick<Artifacts, 'open'>
  options: Pick<WorkerOptions, 'apiUrl' | 'workspaceId' | 'urlTemplate'>
  /** Directories of node and npm. */
  toolPath: readonly string[]
}

export function createInstanceInventory(deps: InstanceInventoryDeps): InstanceInventory {
  const { store, artifacts, options } = deps
  return {
    list: () => store.instances.records(),
    get: (id) => store.instances.record(id),
    observe: (id, patch) => store.instances.observe(id, patch),
    retire: (id) => store.instances.retire(id),
    forget: (id) => store.instances.forget(id),
    event: (event) => store.instances.event(event),
    spec: async (id): Promise<InstanceSpec | null> => {
      const instance = await store.instances.get(id)
      const app = instance === null ? null : await store.apps.get(instance.app)
      const deployment = instance === null ? null : await store.deployments.get(instance.deployment)
      if (instance === null || app === null || deployment === null) return null
      const artifact = deployment.artifact === null ? null : await artifacts.open(deployment.artifact)
      if (artifact === null)
        throw new CoppiceError(
          'Internal',
          `The artifact of deployment ${deployment.id} of ${app.name} is missing or damaged; deploy again to build it anew`,
        )
      const secrets = await store.secrets.values(app.name)
      const { env, portVariables } = makeEnvironment({
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
        health: deployment.health,
        mode: instance.mode,
      }
    },
  }
}
