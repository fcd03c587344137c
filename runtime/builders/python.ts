import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { CoppiceError } from '../../domain/errors.ts'
import { pythonDeclaration } from '../../domain/runtime-contract.ts'
import { digestInPlace, sha256 } from '../artifacts/manifest.ts'
import { copyTree } from '../artifacts/trees.ts'
import { askCommand } from './command.ts'
import type { Inspection } from './inspect.ts'
import { type Ensured, ensureTree, type Job, keyOf, type Workshop } from './job.ts'
import { installPreinstalled, layBeneath, notInstalledBeneath, type PreinstalledMeta } from './preinstalled.ts'
import { createInterpreters, PROMISED_PYTHON } from './python-interpreter.ts'
import { type Requirements, readRequirements, requirementLines, withoutEditables } from './requirements.ts'
import type { Caller } from './single-flight.ts'
import { namesPackages, readUvProject, type UvProject } from './uv-project.ts'
import { type Environment, makeVenv, pythonOf, tidy } from './venv.ts'

export type PythonOptions = {
  /** File with the libraries that standard apps find installed, one requirement a line; absolute. */
  preinstalledFile: string
  cacheDir: string
  env: Readonly<Record<string, string | undefined>>
}

export type PythonRequest = {
  /** Path of the source. */
  source: string
  /** Its digest. */
  digest: string
  inspection: Inspection
  preinstalled: boolean | readonly string[]
}

/** `dependencies` is what the app sees; without, it is the preinstalled layer itself, which is made of `list`. */
export type PythonLayers = {
  preinstalled: Ensured | null
  list: readonly string[] | null
  dependencies: Ensured | null
}

export type PythonBuilder = ReturnType<typeof createPythonBuilder>

/**
 * Makes the Python layers of an app: a relocatable virtual environment, compiled, whose packages share nothing with
 * uv's cache. With the pre-installed libraries, these are a layer of their own beneath it, and the app's layer holds
 * only what differs from them.
 */
export function createPythonBuilder(options: PythonOptions) {
  const interpreters = createInterpreters()

  async function pythonLayers(workshop: Workshop, request: PythonRequest, caller: Caller): Promise<PythonLayers> {
    const declaration = pythonDeclaration(request.inspection.shape)
    const project = declaration === 'uv' ? await readUvProject(request.source) : null
    if (declaration === 'none') await mindMissingLock(request, caller)
    const environment = await environmentFor(workshop, project, caller)
    // A project with a lock says exactly what it wants (reference section 3): nothing is put beneath it.
    const list = project === null ? await listOf(request) : null
    const beneath = list === null ? null : await preinstalledLayer(workshop, environment, list, caller)

    if (project !== null) {
      const dependencies = await syncedLayer(workshop, environment, request, project, caller)
      return { preinstalled: null, list, dependencies }
    }
    if (declaration === 'none') {
      const dependencies = beneath === null ? await emptyLayer(workshop, environment, caller) : null
      return { preinstalled: beneath, list, dependencies }
    }
    const dependencies = await requirementsLayer(workshop, environment, request, beneath, caller)
    return { preinstalled: beneath, list, dependencies }
  }

  async function environmentFor(workshop: Workshop, project: UvProject | null, caller: Caller): Promise<Environment> {
    let resolved: Promise<string> | undefined
    const uv = () => (resolved ??= workshop.tools.uv())
    const ask = (argv: readonly string[], name: string, env: Record<string, string> = {}) =>
      askCommand(argv, {
        cwd: '/',
        env: { ...workshop.environment.env, HOME: options.cacheDir, ...env },
        signal: caller.signal,
        log: () => undefined,
        name,
        spawn: workshop.spawn,
        box: { ...workshop.box, folder: null },
      })
    const wanted = project?.wantedPython ?? [PROMISED_PYTHON, '>=3.9']
    const interpreter = await interpreters.find(wanted, { uv, ask, env: options.env })
    if (interpreter === null) {
      const asked = project === null ? `Python ${PROMISED_PYTHON}` : `Python ${wanted.at(-1)} (requires-python)`
      const message = `The app needs ${asked}, and this machine has none that fits; install one`
      throw new CoppiceError('BuildFailed', message, { step: 'find Python' })
    }
    if (project === null && !interpreter.version.startsWith(`${PROMISED_PYTHON}.`)) {
      caller.log(`Python ${PROMISED_PYTHON} is not on this machine; using ${interpreter.version}`)
    }
    return { uv, interpreter }
  }

  async function listOf({ preinstalled }: PythonRequest): Promise<readonly string[] | null> {
    if (preinstalled === false) return null
    return preinstalled === true ? requirementLines(await readFile(options.preinstalledFile, 'utf8')) : preinstalled
  }

  async function preinstalledLayer(
    workshop: Workshop,
    environment: Environment,
    list: readonly string[],
    caller: Caller,
  ): Promise<Ensured> {
    const key = keyOf('preinstalled', environment.interpreter.identity, list, workshop.environment.sources)
    return ensureTree(workshop, key, caller, async (job) => {
      await makeVenv(job, environment)
      return installPreinstalled(job, await environment.uv(), list)
    })
  }

  return pythonLayers
}

/**
 * A pyproject.toml alone installs nothing. Where nothing else brings the packages that it names the app could only
 * crash, with a message about some module; the pre-installed libraries may be all that it wants.
 */
async function mindMissingLock({ source, inspection, preinstalled }: PythonRequest, caller: Caller): Promise<void> {
  if (!inspection.shape.files.has('pyproject.toml')) return
  const advice = 'run "uv lock" in the source folder, keep uv.lock out of .gitignore, and deploy again'
  if (!preinstalled && namesPackages(await readFile(join(source, 'pyproject.toml'), 'utf8'))) {
    const message = `pyproject.toml names packages, and none is installed without uv.lock: ${advice}`
    throw new CoppiceError('BuildFailed', message, { field: 'uv.lock', step: 'read pyproject.toml' })
  }
  caller.log(`pyproject.toml counts only together with uv.lock: ${advice}`)
}

async function emptyLayer(workshop: Workshop, environment: Environment, caller: Caller): Promise<Ensured> {
  const key = keyOf('python', environment.interpreter.identity, 'empty')
  return ensureTree(workshop, key, caller, (job) => makeVenv(job, environment))
}

async function requirementsLayer(
  workshop: Workshop,
  environment: Environment,
  { source }: PythonRequest,
  beneath: Ensured | null,
  caller: Caller,
): Promise<Ensured> {
  const read = (path: string) => readFile(join(source, path), 'utf8').catch(() => undefined)
  const requirements = await readRequirements('requirements.txt', read)
  const reached = await digestsOf(source, requirements)
  const key = keyOf(
    'python',
    environment.interpreter.identity,
    beneath?.key ?? null,
    reached,
    workshop.environment.sources,
  )

  return ensureTree(workshop, key, caller, async (job) => {
    const cwd = await workingCopy(job, source, requirements)
    await makeVenv(job, environment)
    job.onProgress('Installing the packages of requirements.txt')
    const install = [await environment.uv(), 'pip', 'install', '--python', pythonOf(job)]
    const name = 'uv pip install -r requirements.txt'
    if (beneath === null || requirements.hashes) {
      await job.run([...install, '-r', 'requirements.txt'], { cwd, name })
    } else {
      const missing = await notInstalledBeneath(job, await environment.uv(), beneath.meta as PreinstalledMeta, cwd)
      if (missing !== null) await job.run([...install, '--no-deps', '-r', missing], { cwd, name })
    }
    if (beneath !== null) await layBeneath(job, beneath)
    return null
  })
}

async function syncedLayer(
  workshop: Workshop,
  environment: Environment,
  { source, digest }: PythonRequest,
  project: UvProject,
  caller: Caller,
): Promise<Ensured> {
  const files = await Promise.all(project.files.map(async (name) => [name, sha256(await readFile(join(source, name)))]))
  const reached = project.readsTheTree ? digest : files
  const key = keyOf('python', environment.interpreter.identity, 'uv', reached, workshop.environment.sources)

  return ensureTree(workshop, key, caller, async (job) => {
    const cwd = join(job.stage.scratch, 'source')
    if (project.readsTheTree) await copyTree(source, cwd, { signal: job.signal })
    else await copyFiles(source, cwd, project.files)
    await makeVenv(job, environment)
    job.onProgress('Installing the packages of uv.lock')
    const extra = project.readsTheTree ? [] : ['--no-install-project']
    await job.run([await environment.uv(), 'sync', '--frozen', '--no-dev', '--no-editable', ...extra], {
      cwd,
      name: 'uv sync --frozen',
      env: {
        UV_PROJECT_ENVIRONMENT: job.stage.tree,
        UV_PYTHON: environment.interpreter.path,
        ...(project.hasSettings ? { UV_NO_CONFIG: undefined, UV_CONFIG_FILE: undefined } : {}),
      },
    })
    await tidy(job)
    return null
  })
}

/** What the declaration reaches in the source: path and digest. */
async function digestsOf(source: string, { files, local }: Requirements): Promise<string[][]> {
  const digests: string[][] = []
  // One after the other: a file can name a million paths, and the first that is missing ends it.
  for (const path of [...files, ...local]) {
    const digest = await digestInPlace(join(source, path)).catch(() => null)
    if (digest === null)
      throw new CoppiceError('BuildFailed', `requirements.txt names ${path}, which is not in the source`, {
        field: path,
        step: 'read requirements.txt',
      })
    digests.push([path, digest])
  }
  return digests
}

/** Packages are built where they lie, and a build writes beside what it builds: never into the source. */
async function workingCopy(job: Job, source: string, { files, local }: Requirements): Promise<string> {
  const cwd = join(job.stage.scratch, 'source')
  if (local.length > 0) await copyTree(source, cwd, { signal: job.signal })
  await copyFiles(source, cwd, files, withoutEditables)
  return cwd
}

async function copyFiles(
  from: string,
  to: string,
  names: readonly string[],
  change = (text: string) => text,
): Promise<void> {
  for (const name of names) {
    await mkdir(dirname(join(to, name)), { recursive: true })
    await writeFile(join(to, name), change(await readFile(join(from, name), 'utf8')))
  }
}
