import type { EnvVar } from '../domain/app-config.ts'
import { CoppiceError } from '../domain/errors.ts'
import { DEFAULT_VARIABLES, FIXED_VARIABLES, PORT_VARIABLES } from '../domain/runtime-contract.ts'
import type { RunSpec } from './contracts.ts'

/**
 * What an app inherits from the process that starts it, and all it inherits: how to reach the outside, and how to
 * write text and times. Everything else of the worker's environment (tokens, paths, its own settings) stays out.
 */
export const INHERITED_VARIABLES = [
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'ALL_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'all_proxy',
  'no_proxy',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'NODE_EXTRA_CA_CERTS',
  'REQUESTS_CA_BUNDLE',
  'LANG',
  'LC_ALL',
  'TZ',
] as const

/** The system's own directories, last on every app's PATH. */
export const SYSTEM_PATH = ['/usr/local/bin', '/usr/bin', '/bin', '/usr/local/sbin', '/usr/sbin', '/sbin'] as const

export type EnvironmentInput = {
  app: string
  slot: number
  /** Id of the deployment that the instance runs. */
  deployment: string
  /** Where people reach the app; null while it has no address yet. */
  url: string | null
  /** Base URL of the API, for clients inside the app; null leaves DATABRICKS_HOST unset. */
  host: string | null
  workspaceId: string
  run: RunSpec
  /** `env_vars` of the deployment. They win over app.yaml. */
  overrides: ReadonlyArray<EnvVar>
  /** Value of a secret of this app, or undefined when there is none of that name. */
  secret: (name: string) => string | undefined
  /** Directories of the platform's own programs (node, npm), put between the layers' and the system's. */
  toolPath: readonly string[]
  /** Environment of the process that asks; only INHERITED_VARIABLES are taken from it. */
  inherited: Readonly<Record<string, string | undefined>>
}

export type Environment = {
  /** Without what only the provider knows: the port, HOME, TMPDIR, COPPICE_INSTANCE_ID. */
  env: Record<string, string>
  /** Names that get the port as their value. */
  portVariables: string[]
  /** Variables of the app's own that are the platform's to set and were left out; worth a warning. */
  ignored: string[]
}

/**
 * The environment of an instance. What the platform fixes wins over the deployment's `env_vars`, these over app.yaml's
 * `env`, these over the defaults. Throws SecretMissing, which names the variable and the secret.
 */
export function makeEnvironment(input: EnvironmentInput): Environment {
  const own = new Map<string, string>()
  for (const entry of [...input.run.env, ...input.overrides]) own.set(entry.name, resolveValue(entry, input))

  const ignored = [...own.keys()].filter((name) => FIXED_VARIABLES.has(name))
  for (const name of ignored) own.delete(name)

  const env: Record<string, string> = {}
  for (const name of INHERITED_VARIABLES) {
    const value = input.inherited[name]
    if (value !== undefined) env[name] = value
  }
  Object.assign(env, DEFAULT_VARIABLES, input.run.vars)
  env.PATH = [...input.run.path, ...input.toolPath, ...SYSTEM_PATH].join(':')
  if (input.host !== null) env.DATABRICKS_HOST = input.host
  Object.assign(env, Object.fromEntries(own))

  env.DATABRICKS_APP_NAME = input.app
  env.DATABRICKS_WORKSPACE_ID = input.workspaceId
  if (input.url !== null) env.DATABRICKS_APP_URL = input.url
  env.STREAMLIT_SERVER_ADDRESS = '0.0.0.0'
  env.COPPICE_APP = input.app
  env.COPPICE_SLOT = String(input.slot)
  env.COPPICE_DEPLOYMENT = input.deployment

  return { env, portVariables: PORT_VARIABLES.filter((name) => !own.has(name)), ignored: ignored.sort() }
}

function resolveValue(entry: EnvVar, input: EnvironmentInput): string {
  if ('value' in entry) return entry.value
  const value = input.secret(entry.valueFrom)
  if (value === undefined) {
    throw new CoppiceError(
      'SecretMissing',
      `The variable ${entry.name} takes its value from the secret "${entry.valueFrom}", which the app ${input.app} does not have`,
      { field: `env.${entry.name}.valueFrom`, secret: entry.valueFrom },
    )
  }
  return value
}
