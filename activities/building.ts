/** From a source to an artifact (DESIGN D6). */
import { secretsNeeded } from '../domain/app-config.ts'
import type { Plan } from '../domain/plan.ts'
import type { Builder, Sources } from '../runtime/contracts.ts'
import type { Store } from '../store/store.ts'
import type { Faults } from './faults.ts'
import { type NamedStep, withStep } from './step.ts'

export type BuildingDeps = {
  store: Store
  faults?: Faults
  sources: Sources
  builder: Builder
  /** The folder that a source path names. Throws InvalidInput, SourceNotFound. */
  resolveSource: (path: string) => Promise<string>
  /** Names of the secrets that the app.yaml of a source asks for. Throws AppConfigInvalid. */
  secretsOf: (sourcePath: string) => Promise<string[]>
  /** Where the lines of a build go; called once a build. */
  openBuildLog: (app: string, deployment: string) => { write: (line: string) => void; close: () => void }
}

export const createBuildingActivities = (deps: BuildingDeps) => {
  const { store, sources, builder, resolveSource, openBuildLog, secretsOf } = deps
  /** Before anything is built: a build of minutes must not end in a word that could have been said at once (R3.7). */
  async function refuseMissingSecrets(plan: Plan, source: string): Promise<void> {
    const path = await sources.path(source)
    const deployment = plan.deployment as string
    const ofSource = path === null ? [] : await secretsOf(path)
    const overrides = await store.deployments.env(deployment)
    await store.secrets.need(plan.app, deployment, [...new Set([...ofSource, ...secretsNeeded(overrides)])])
  }

  return {
    /** Takes the snapshot that is deployed, whatever happens to the folder afterwards. */
    async snapshotSource(plan: Plan): Promise<{ source: string }> {
      const ref: NamedStep = { operation: plan.operation, step: 'snapshot', words: 'Take a snapshot of the source' }
      return withStep(
        deps,
        ref,
        async ({ signal, note }) => {
          const deployment = await deploymentOf(store, plan)
          if (deployment.source !== null) {
            await store.pins.pin(deployment.source, plan.operation)
            if ((await sources.path(deployment.source)) !== null) return { source: deployment.source }
          }
          const folder = await resolveSource(deployment.sourceCodePath ?? '')
          const { digest, files, bytes } = await sources.snapshot(folder, { signal })
          await store.pins.pin(digest, plan.operation)
          note(`${files} files, ${bytes} bytes`)
          return { source: digest }
        },
        ({ source }) =>
          async (tx) => {
            await tx.updateTable('deployments').set({ source }).where('id', '=', plan.deployment).execute()
          },
      )
    },

    /** Builds what is missing; nothing when everything is there (R4.1, R4.2). */
    async buildArtifact(plan: Plan, source: string): Promise<{ artifact: string; built: string[] }> {
      const ref: NamedStep = { operation: plan.operation, step: 'build', words: 'Build the artifact' }
      return withStep(
        deps,
        ref,
        async ({ signal, note }) => {
          const app = await store.apps.get(plan.app)
          const { command } = await deploymentOf(store, plan)
          await refuseMissingSecrets(plan, source)
          const log = openBuildLog(plan.app, plan.deployment ?? '')
          try {
            const result = await builder.build(
              { app: plan.app, source, preinstalled: app?.preinstalled === true, command, holder: plan.operation },
              { signal, log: log.write, onProgress: note },
            )
            const words = result.built.length === 0 ? 'nothing had to be built' : `built ${result.built.join(', ')}`
            log.write(`coppice: ${words}`)
            note(words)
            return {
              artifact: result.artifact,
              layers: result.layers,
              built: result.built,
              preinstalled: result.preinstalled,
            }
          } finally {
            log.close()
          }
        },
        // The deployment needs it as long as it is kept, longer than the operation that built it (R4.3).
        ({ artifact, layers, preinstalled }) =>
          async (tx) => {
            const built_with = JSON.stringify({ preinstalled })
            await tx
              .updateTable('deployments')
              .set({ artifact, built_with })
              .where('id', '=', plan.deployment)
              .execute()
            for (const key of [artifact, ...layers, source])
              await tx
                .insertInto('pins')
                .values({ key, holder: plan.deployment as string })
                .onConflict((conflict) => conflict.doNothing())
                .execute()
          },
      )
    },
  }
}

async function deploymentOf(store: Store, plan: Plan) {
  const deployment = plan.deployment === null ? null : await store.deployments.get(plan.deployment)
  if (deployment === null) throw new Error(`operation ${plan.operation} has no deployment ${plan.deployment}`)
  return deployment
}
