import { z } from 'zod'
import { CoppiceError } from '../../domain/errors.ts'

const names = z.record(z.string(), z.string())

const packageJsonSchema = z.looseObject({
  scripts: names.default({}),
  dependencies: names.optional(),
  devDependencies: names.optional(),
  optionalDependencies: names.optional(),
  peerDependencies: names.optional(),
  packageManager: z.string().optional(),
})
export type PackageJson = z.infer<typeof packageJsonSchema>

/** Of package.json what decides which packages are installed. The rest (version, scripts, …) costs no new layer. */
const INSTALL_FIELDS = [
  'name',
  'dependencies',
  'devDependencies',
  'optionalDependencies',
  'peerDependencies',
  'peerDependenciesMeta',
  'bundleDependencies',
  'bundledDependencies',
  'overrides',
  'resolutions',
  'packageManager',
  'pnpm',
  'engines',
  'os',
  'cpu',
  'libc',
]

/** Root scripts that npm and pnpm run as part of an installation. */
const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall', 'prepublish', 'preprepare', 'prepare', 'postprepare']

/** Files of the root, beside package.json, that decide what is installed. */
const INSTALL_FILES = ['package-lock.json', 'npm-shrinkwrap.json', 'pnpm-lock.yaml', '.npmrc']

/**
 * How the packages of an app get there. `none`: it has none, npm is not even started. `layer`: they depend on a few
 * files only, so they are a layer that many deployments share. `inTree`: the installation reads or writes the app's own
 * files (install scripts, workspaces, `file:` packages), so it is part of every build and its node_modules is part of
 * the artifact.
 */
export type NodeInstall = 'none' | 'layer' | 'inTree'

export function nodeInstall(packageJson: PackageJson, files: ReadonlySet<string>): NodeInstall {
  const wanted = [
    packageJson.dependencies,
    packageJson.devDependencies,
    packageJson.optionalDependencies,
    packageJson.peerDependencies,
  ].flatMap((group) => Object.values(group ?? {}))
  const readsTheTree =
    packageJson.workspaces !== undefined ||
    INSTALL_SCRIPTS.some((script) => packageJson.scripts[script] !== undefined) ||
    wanted.some((spec) => /^(?:file:|link:|portal:|workspace:|\.{0,2}\/|~\/)/.test(spec)) ||
    patches(packageJson) ||
    files.has('pnpm-workspace.yaml') ||
    files.has('.pnpmfile.cjs')
  if (readsTheTree) return 'inTree'
  return wanted.length > 0 ? 'layer' : 'none'
}

/** What a layer is installed from: name of the file → content, or null for one that is copied as it is. */
export function installFiles(
  packageJson: PackageJson,
  files: ReadonlySet<string>,
): Array<{ name: string; content: string | null }> {
  const reduced = Object.fromEntries(
    INSTALL_FIELDS.flatMap((field) => (field in packageJson ? [[field, packageJson[field]]] : [])),
  )
  return [
    { name: 'package.json', content: `${JSON.stringify(reduced, null, 2)}\n` },
    ...INSTALL_FILES.filter((name) => files.has(name)).map((name) => ({ name, content: null })),
  ]
}

/** Throws BuildFailed that says what is wrong with it. */
export function readPackageJson(text: string): PackageJson {
  try {
    return packageJsonSchema.parse(JSON.parse(text.replace(/^\ufeff/, '')))
  } catch (error) {
    const reason =
      error instanceof z.ZodError
        ? `${error.issues[0]?.path.join('.')}: ${error.issues[0]?.message}`
        : (error as Error).message
    throw new CoppiceError('BuildFailed', `package.json cannot be read: ${reason}`, {
      field: 'package.json',
      step: 'read package.json',
    })
  }
}

function patches(packageJson: PackageJson): boolean {
  const pnpm = packageJson.pnpm
  return typeof pnpm === 'object' && pnpm !== null && 'patchedDependencies' in pnpm
}
