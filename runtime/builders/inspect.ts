import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { APP_CONFIG_FILES, type AppConfig, EMPTY_APP_CONFIG, parseAppConfig } from '../../domain/app-config.ts'
import { CoppiceError } from '../../domain/errors.ts'
import { commandOf, type SourceShape } from '../../domain/runtime-contract.ts'
import { type PackageJson, readPackageJson } from './package-json.ts'

/** What a source says about itself; the ground on which its build is planned. */
export type Inspection = {
  /** Its command is the deployment's where that brings one. */
  shape: SourceShape
  config: AppConfig
  packageJson: PackageJson | null
  /** The source's own; empty where it has none and the deployment brings one. */
  command: string[]
}

/**
 * Reads the root of a source. Throws AppConfigInvalid, NoCommand, or BuildFailed for a package.json that is none.
 *
 * @param override the deployment's command; null leaves it to the source.
 */
export async function inspectSource(source: string, override: readonly string[] | null): Promise<Inspection> {
  const files = await rootFiles(source)
  const config = await configIn(source, files)
  const packageJson = files.has('package.json')
    ? readPackageJson(await readFile(join(source, 'package.json'), 'utf8'))
    : null
  const shape: SourceShape = { files, scripts: packageJson?.scripts ?? null, command: config.command ?? null }
  const command = commandOf(shape)
  if (command === null && override === null) {
    const found = [...files].sort().slice(0, 10).join(', ') || 'nothing'
    throw new CoppiceError('NoCommand', `Nothing says how the app is started; its root has ${found}`)
  }
  return { shape: { ...shape, command: override ?? shape.command }, config, packageJson, command: command ?? [] }
}

/** The app.yaml of a source, empty where there is none. Throws AppConfigInvalid. */
export async function readAppConfig(source: string): Promise<AppConfig> {
  return configIn(source, await rootFiles(source))
}

async function rootFiles(source: string): Promise<Set<string>> {
  const entries = await readdir(source, { withFileTypes: true })
  return new Set(entries.filter((entry) => !entry.isDirectory()).map((entry) => entry.name))
}

async function configIn(source: string, files: ReadonlySet<string>): Promise<AppConfig> {
  const file = APP_CONFIG_FILES.find((name) => files.has(name))
  return file === undefined ? EMPTY_APP_CONFIG : parseAppConfig(file, await readFile(join(source, file), 'utf8'))
}
