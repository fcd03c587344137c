import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { APP_CONFIG_FILES, type AppConfig, EMPTY_APP_CONFIG, parseAppConfig } from '../../domain/app-config.ts'
import { CoppiceError } from '../../domain/errors.ts'
import { commandOf, type SourceShape } from '../../domain/runtime-contract.ts'
import { type PackageJson, readPackageJson } from './package-json.ts'

/** What a source says about itself; the ground on which its build is planned. */
export type Inspection = {
  shape: SourceShape
  config: AppConfig
  packageJson: PackageJson | null
  command: string[]
}

/** Reads the root of a source. Throws AppConfigInvalid, NoCommand, or BuildFailed for a package.json that is none. */
export async function inspectSource(source: string): Promise<Inspection> {
  const entries = await readdir(source, { withFileTypes: true })
  const files = new Set(entries.filter((entry) => !entry.isDirectory()).map((entry) => entry.name))
  const read = (name: string) => readFile(join(source, name), 'utf8')

  const configFile = APP_CONFIG_FILES.find((name) => files.has(name))
  const config = configFile === undefined ? EMPTY_APP_CONFIG : parseAppConfig(configFile, await read(configFile))
  const packageJson = files.has('package.json') ? readPackageJson(await read('package.json')) : null

  const shape: SourceShape = { files, scripts: packageJson?.scripts ?? null, command: config.command ?? null }
  const command = commandOf(shape)
  if (command === null) {
    const found = [...files].sort().slice(0, 10).join(', ') || 'nothing'
    throw new CoppiceError('NoCommand', `Nothing says how the app is started; its root has ${found}`)
  }
  return { shape, config, packageJson, command }
}
