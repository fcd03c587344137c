import { copyFile, lstat, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CoppiceError } from '../../domain/errors.ts'
import { BUILD_SCRIPT, nodeInstaller } from '../../domain/runtime-contract.ts'
import { nullIfDamaged, sha256, walkNew } from '../artifacts/manifest.ts'
import type { OpenSealed } from '../artifacts/sealed-store.ts'
import { copyTree, removeTree } from '../artifacts/trees.ts'
import type { Inspection } from './inspect.ts'
import { type Ensured, ensureTree, type Job, keyOf, type Workshop } from './job.ts'
import { installFiles, type NodeInstall, nodeInstall, type PackageJson } from './package-json.ts'
import type { Caller } from './single-flight.ts'
import { folderIn } from './stage-files.ts'

export const NODE_MODULES = 'node_modules'

/** What tools keep in node_modules to be faster next time; losing it changes nothing. */
const CACHES = /^(?:\.cache|\.vite|\.vite-temp|\.package-lock\.json)(?:\/|$)/

export type NodePlan = { packageJson: PackageJson; install: NodeInstall; builds: boolean }

export function planNode({ packageJson, shape }: Inspection): NodePlan | null {
  if (packageJson === null) return null
  return {
    packageJson,
    install: nodeInstall(packageJson, shape.files),
    builds: packageJson.scripts[BUILD_SCRIPT] !== undefined,
  }
}

/** Of the machine, what compiled packages depend on. */
export function nodePlatform(): string[] {
  return [process.platform, process.arch, process.versions.modules]
}

/** The layer with node_modules, or null when the app has none of its own to share. */
export async function nodeLayer(
  workshop: Workshop,
  source: string,
  inspection: Inspection,
  caller: Caller,
): Promise<Ensured | null> {
  const plan = planNode(inspection)
  if (plan?.install !== 'layer') return null
  const files = installFiles(plan.packageJson, inspection.shape.files)
  const contents = await Promise.all(
    files.map(async ({ name, content }) => [name, content ?? (await readFile(join(source, name), 'utf8'))]),
  )
  const key = keyOf(
    'node',
    nodePlatform(),
    workshop.environment.sources,
    contents.map(([name = '', text = '']) => [name, sha256(text)]),
  )
  return ensureTree(workshop, key, caller, async (job) => {
    for (const { name, content } of files) {
      if (content === null) await copyFile(join(source, name), join(job.stage.tree, name))
      else await writeFile(join(job.stage.tree, name), content)
    }
    await install(job, job.stage.tree, inspection, plan.packageJson, source)
    const packages = join(job.stage.tree, NODE_MODULES)
    if ((await lstat(packages).catch(nullIfDamaged)) === null) await mkdir(packages)
    await folderIn(job.stage.tree, NODE_MODULES)
    return null
  })
}

/**
 * Installs, where that is part of the build, and runs the build script, in the stage, which holds the source already.
 * `env` is what the app's other layers need. Returns whether node_modules is linked from the layer; else it is part of the
 * stage now.
 */
export async function buildNode(
  job: Job,
  inspection: Inspection,
  source: string,
  layer: OpenSealed | null,
  env: Record<string, string>,
): Promise<{ linked: boolean }> {
  const plan = planNode(inspection)
  if (plan === null) return { linked: false }
  const { tree } = job.stage
  if (plan.install === 'inTree') await install(job, tree, inspection, plan.packageJson, source)
  if (plan.builds) {
    // Build tools write into node_modules; what they get is a copy.
    if (layer !== null) await copyTree(join(layer.path, NODE_MODULES), join(tree, NODE_MODULES), { signal: job.signal })
    job.onProgress('Running npm run build')
    await job.run([npm(job), 'run', BUILD_SCRIPT], { cwd: tree, name: `npm run ${BUILD_SCRIPT}`, env })
  }
  if (layer === null) return { linked: false }
  // A build that generates code into its packages (an ORM's client) keeps them: the layer does not have that code.
  if (plan.builds && (await differs(join(tree, NODE_MODULES), layer))) return { linked: false }
  await removeTree(join(tree, NODE_MODULES))
  return { linked: true }
}

async function install(
  job: Job,
  directory: string,
  { shape }: Inspection,
  packageJson: PackageJson,
  source: string,
): Promise<void> {
  const installer = nodeInstaller(shape)
  job.onProgress(`Installing the packages of package.json with ${installer}`)
  switch (installer) {
    case 'pnpm':
      return job.run([...(await pnpm(job, packageJson, source)), 'install', '--frozen-lockfile'], {
        cwd: directory,
        name: 'pnpm install --frozen-lockfile',
      })
    case 'npm ci':
    case 'npm install':
      return job.run([npm(job), ...installer.split(' ').slice(1)], {
        cwd: directory,
        name: installer,
        skip: npmUsage(),
      })
  }
}

function npm(job: Job): string {
  const path = job.program('npm')
  if (path === null) throw new CoppiceError('ToolMissing', 'npm is not on the PATH, and this app is built with it')
  return path
}

/** npm explains its 60 options after each error, which buries the one line that says what is wrong. */
function npmUsage(): (line: string) => boolean {
  let inUsage = false
  return (line) => {
    inUsage ||= /^npm \S+ Usage:$/.test(line)
    if (!inUsage) return /^npm \S+$/.test(line)
    inUsage = !/Run "npm help/.test(line)
    return true
  }
}

/** pnpm of the machine, else the version that the app names or that its lock was written by, from the registry. */
async function pnpm(job: Job, packageJson: PackageJson, source: string): Promise<string[]> {
  const named = /^pnpm@([\w.-]{1,64})/.exec(packageJson.packageManager ?? '')?.[1]
  const installed = job.program('pnpm')
  if (named === undefined && installed !== null) return [installed]
  const lock = await readFile(join(source, 'pnpm-lock.yaml'), 'utf8')
  const format = Number.parseInt(/lockfileVersion:\s*'?(\d+)/.exec(lock)?.[1] ?? '9', 10)
  const version = named ?? (format >= 9 ? '10' : format >= 6 ? '8' : '7')
  return [npm(job), 'exec', '--yes', `--package=pnpm@${version}`, '--', 'pnpm']
}

/** Whether a copy of the layer's packages was written to. Copies keep their times, so that no content has to be read. */
async function differs(copy: string, layer: OpenSealed): Promise<boolean> {
  const expected = new Map(
    layer.entries.flatMap((line) => (line[0].startsWith(`${NODE_MODULES}/`) ? [[line[0], line] as const] : [])),
  )
  if (!(await lstat(copy).catch(nullIfDamaged))?.isDirectory()) return true
  let changed = false
  await walkNew(copy, (path, stats) => {
    if (CACHES.test(path) || stats.isDirectory()) return
    const [, , , size, mtimeMs] = expected.get(`${NODE_MODULES}/${path}`) ?? []
    changed ||= size !== stats.size || (!stats.isSymbolicLink() && Math.abs((mtimeMs ?? 0) - stats.mtimeMs) > 1)
  })
  return changed
}
