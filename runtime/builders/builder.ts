import { spawn as nodeSpawn } from 'node:child_process'
import { CoppiceError } from '../../domain/errors.ts'
import { DEFAULTS } from '../../domain/limits.ts'
import { needsPython } from '../../domain/runtime-contract.ts'
import { type ArtifactMeta, type ArtifactStore, inLayer } from '../artifacts/artifacts.ts'
import { copyTree } from '../artifacts/trees.ts'
import { type Clock, systemClock } from '../clock.ts'
import type { Builder, BuildResult, Pins, RunSpec, Sources } from '../contracts.ts'
import { limitBuild } from './build-limit.ts'
import type { Spawn } from './command.ts'
import { type Inspection, inspectSource } from './inspect.ts'
import { installEnvironment } from './install-environment.ts'
import { type BuildTools, type Ensured, ensureTree, keyOf, type Workshop } from './job.ts'
import { buildNode, NODE_MODULES, nodeLayer, nodePlatform, planNode } from './node.ts'
import { createPythonBuilder, type PythonLayers, type PythonOptions } from './python.ts'
import { createSingleFlight } from './single-flight.ts'

export type BuilderOptions = PythonOptions & {
  artifacts: ArtifactStore
  sources: Pick<Sources, 'path'>
  pins: Pick<Pins, 'pin'>
  tools: BuildTools
  /** Where uv, npm and pnpm keep their downloads; absolute. Shared by all builds, and safe to delete at any time. */
  cacheDir: string
  /** Directories of node and npm; see runtime/tool-path.ts. */
  toolPath: readonly string[]
  /** Environment of the worker, for proxies and package indexes only. */
  env: Readonly<Record<string, string | undefined>>
  /** Put before each program of a build; see confinement. */
  prefix: () => Promise<string[]>
  /** Id of the data directory, which marks what builds start. */
  homeId: string
  /**
   * How long a build may take before it is given up, in ms; default DEFAULTS.buildTimeoutMs. Raise it for apps that compile
   * for long, up to what the step of the saga has (workflows/proxies.ts).
   */
  buildTimeoutMs?: number
  /** Default: the system's. */
  clock?: Clock
  /** Default: child_process.spawn. */
  spawn?: Spawn
}

/**
 * Makes artifacts: finds or builds the layers that the source declares, then the artifact on top of them. Nothing that
 * is there is built again (R4.1, R4.2).
 */
export function createBuilder(options: BuilderOptions): Builder {
  const { artifacts, sources, pins, tools, spawn = nodeSpawn, clock = systemClock } = options
  const { buildTimeoutMs = DEFAULTS.buildTimeoutMs } = options
  const share = createSingleFlight()
  const pythonLayers = createPythonBuilder(options)

  const build: Builder['build'] = async (request, caller) => {
    const { limited, end } = limitBuild(caller, buildTimeoutMs, clock)
    try {
      return await make(request, limited)
    } catch (error) {
      // An abort shows up as whatever it broke, e.g. as a Python that was not found.
      limited.signal.throwIfAborted()
      throw error
    } finally {
      end()
    }
  }

  const make: Builder['build'] = async (request, caller) => {
    const pin = (key: string) => pins.pin(key, request.holder)
    const environment = installEnvironment(options)
    const box = { prefix: await options.prefix(), homeId: options.homeId }
    const workshop: Workshop = { artifacts, share, spawn, box, environment, tools, pin }

    await pin(request.source)
    const source = await sources.path(request.source)
    if (source === null) {
      throw new CoppiceError('SourceNotFound', `The source ${request.source} is not kept any more, or was damaged`)
    }
    const inspection = await inspectSource(source, request.command ?? null)
    const node = await nodeLayer(workshop, source, inspection, caller)
    const python = needsPython(inspection.shape)
      ? await pythonLayers(
          workshop,
          { source, digest: request.source, inspection, preinstalled: request.preinstalled },
          caller,
        )
      : null

    const layers = [node, python?.preinstalled, python?.dependencies].flatMap((layer) => layer ?? [])
    const key = artifactKey(request.source, inspection, layers, workshop)
    const artifact = await ensureTree(workshop, key, caller, async (job) => {
      job.onProgress('Putting the source in place')
      await copyTree(source, job.stage.tree, { signal: job.signal })
      const { linked } = await buildNode(job, inspection, source, node, pythonVariables(python, environment.env.PATH))
      const used = layers.filter((layer) => layer !== node || linked)
      return {
        layers: used.map((layer) => layer.key),
        run: runSpec(inspection, key, linked ? node : null, python),
      } satisfies ArtifactMeta
    })
    return {
      artifact: key,
      layers: (artifact.meta as ArtifactMeta).layers,
      built: builtOf(node, python, artifact),
      preinstalled: python?.list ?? null,
    }
  }

  return { build }
}

/** What is built on a machine depends on it; a source that is only copied does not. */
function artifactKey(source: string, inspection: Inspection, layers: Ensured[], workshop: Workshop): string {
  const plan = planNode(inspection)
  const runsNode = plan !== null && (plan.builds || plan.install === 'inTree')
  const machine = runsNode ? [nodePlatform(), workshop.environment.sources] : null
  const keys = layers.map((layer) => layer.key)
  return keyOf('app', source, keys, machine)
}

function runSpec(inspection: Inspection, key: string, linked: Ensured | null, python: PythonLayers | null): RunSpec {
  const { command, config, shape } = inspection
  const environment = python?.dependencies ?? python?.preinstalled
  const hasPackages = (planNode(inspection)?.install ?? 'none') !== 'none'
  return {
    command,
    env: config.env,
    path: [
      ...(environment ? [inLayer(environment.key, 'bin')] : []),
      ...(hasPackages ? [inLayer(linked?.key ?? key, `${NODE_MODULES}/.bin`)] : []),
    ],
    vars: environment ? { VIRTUAL_ENV: inLayer(environment.key) } : {},
    links: linked === null ? {} : { [NODE_MODULES]: inLayer(linked.key, NODE_MODULES) },
    runtime: shape.scripts === null && environment ? 'python' : 'node',
  }
}

/** For build scripts that run Python. */
function pythonVariables(python: PythonLayers | null, path = ''): Record<string, string> {
  const layer = python?.dependencies ?? python?.preinstalled
  return layer ? { PATH: `${layer.path}/bin:${path}`, VIRTUAL_ENV: layer.path } : {}
}

function builtOf(node: Ensured | null, python: PythonLayers | null, artifact: Ensured): BuildResult['built'] {
  const built: BuildResult['built'] = []
  if (python?.preinstalled?.made) built.push('preinstalled')
  if (node?.made || python?.dependencies?.made) built.push('dependencies')
  if (artifact.made) built.push('source')
  return built
}
