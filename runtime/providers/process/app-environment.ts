import { CoppiceError } from '../../../domain/errors.ts'
import { processTooLarge } from '../../../domain/process-size.ts'
import type { InstanceSpec } from '../../contracts.ts'
import type { InstanceDirectory } from './instance-directory.ts'

/** Marks every process of an instance, however it is forked, unless it wipes its own environment. */
export const INSTANCE_VARIABLE = 'COPPICE_INSTANCE_ID'
/** Marks which data directory the instance belongs to: two stacks on one machine leave each other alone. */
export const HOME_VARIABLE = 'COPPICE_HOME_ID'

export const FALLBACK_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** What tells whose process it is, before anything of the app runs. */
export function marksOf(
  id: string,
  { directory, homeId }: { directory: InstanceDirectory; homeId: string },
): Record<string, string> {
  return { HOME: directory.home, TMPDIR: directory.tmp, [INSTANCE_VARIABLE]: id, [HOME_VARIABLE]: homeId }
}

/**
 * The whole environment of the app: nothing of the worker's own gets in. Throws AppConfigInvalid for names that a
 * POSIX shell does not hand on (dash drops `a.b` silently), because the app is started through one.
 */
export function environmentOf(
  spec: InstanceSpec,
  given: { port: number; directory: InstanceDirectory; homeId: string },
): Record<string, string> {
  const environment = {
    PATH: FALLBACK_PATH,
    ...spec.env,
    ...Object.fromEntries(spec.portVariables.map((name) => [name, String(given.port)])),
    ...marksOf(spec.id, given),
  }
  for (const [name, value] of Object.entries(environment)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      throw new CoppiceError(
        'AppConfigInvalid',
        `the environment variable "${name}" cannot be set: names are letters, digits and underscores, and do not begin with a digit`,
        { field: 'env' },
      )
    }
    if (value.includes('\0')) {
      throw new CoppiceError('AppConfigInvalid', `the environment variable "${name}" holds a NUL character`, {
        field: 'env',
      })
    }
  }
  return environment
}

/** Throws AppConfigInvalid for what the kernel would not take, secrets and all. */
export function refuseTooLarge(command: readonly string[], environment: Readonly<Record<string, string>>): void {
  const env = Object.entries(environment).map(([name, value]) => ({ name, value }))
  const words = processTooLarge(command, env)
  if (words !== null) throw new CoppiceError('AppConfigInvalid', words, { field: 'env' })
}

/** Substitutes the one variable that commands may use; there is no shell, so nothing else is special. */
export function commandOf(spec: InstanceSpec, port: number): string[] {
  return spec.command.map((word) =>
    word.replace(/\$(?:DATABRICKS_APP_PORT(?![A-Za-z0-9_])|\{DATABRICKS_APP_PORT\})/g, String(port)),
  )
}
