import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { CoppiceError } from '../domain/errors.ts'
import { DEFAULTS } from '../domain/limits.ts'

/** Everything the control plane can be told. Resolved once: flag, then environment, then default. */
export type ControlOptions = {
  /** The data directory. Default `.coppice` in the clone. The worker needs the same one. */
  home: string
  /**
   * Where the API listens, `host:port`; default 127.0.0.1:7400. Beyond loopback everybody who holds the token can run
   * programs on this machine, and the token crosses the network in clear text: put TLS in front (R13.5).
   */
  listen: Listen
  temporal: TemporalOptions
  /** File with the API's bearer token; made with mode 0600 if missing. Default `<home>/token`. */
  tokenFile: string
  /** Folders from which `source_code_path` may deploy. Default: the clone. */
  sourceRoots: string[]
  /** Domains under which every app has a host name. Default `localhost`. */
  domains: string[]
  /**
   * Base URL of the routers as people reach them, for the `url` of apps. Null takes what the routers report; set it
   * when something stands in front of them.
   */
  routerAddress: string | null
  /** Ports that instances get. Outside of the kernel's ephemeral range, else client sockets take them (DESIGN D11). */
  instancePorts: PortRange
  /** Ports on which routers serve one app each. */
  appPorts: PortRange
  /** How long an instance that leaves may finish what it has in flight, in ms. Raise it for long requests. */
  drainTimeoutMs: number
  /** Most instances one app may have, 1 to 64 (R2.3). */
  maxInstancesPerApp: number
  /** Given to apps and to clients that ask for it; a number as text. */
  workspaceId: string
  /** pino level: debug, info, warn, error, silent. */
  logLevel: string
}

export type Listen = { host: string; port: number }
export type PortRange = { first: number; last: number }
export type TemporalOptions = { address: string; namespace: string }

const FLAGS = {
  home: { type: 'string' },
  'api-listen': { type: 'string' },
  'temporal-address': { type: 'string' },
  'temporal-namespace': { type: 'string' },
  'token-file': { type: 'string' },
  'source-roots': { type: 'string' },
  domains: { type: 'string' },
  'router-address': { type: 'string' },
  'instance-ports': { type: 'string' },
  'app-ports': { type: 'string' },
  'drain-timeout-ms': { type: 'string' },
  'max-instances-per-app': { type: 'string' },
  'workspace-id': { type: 'string' },
  'log-level': { type: 'string' },
} as const

type Flag = keyof typeof FLAGS

/** The folder in which this program lies: the clone, or the installed package. */
export const projectRoot = (): string => dirname(dirname(fileURLToPath(import.meta.url)))

/**
 * Flags, else `COPPICE_<FLAG>`, else defaults.
 *
 * @throws CoppiceError InvalidInput with the flag as its field
 */
export function resolveOptions(argv: readonly string[], env: NodeJS.ProcessEnv): ControlOptions {
  const flags = parseFlags(argv)
  const text = (flag: Flag): string | undefined => flags[flag] ?? (env[envName(flag)] || undefined)
  const home = resolve(text('home') ?? join(projectRoot(), '.coppice'))
  return {
    home,
    listen: listenOf('api-listen', text('api-listen') ?? '127.0.0.1:7400'),
    temporal: {
      address: text('temporal-address') ?? '127.0.0.1:7233',
      namespace: text('temporal-namespace') ?? 'default',
    },
    tokenFile: resolve(text('token-file') ?? join(home, 'token')),
    sourceRoots: (text('source-roots')?.split(':').filter(Boolean) ?? [projectRoot()]).map((root) => resolve(root)),
    domains: text('domains')
      ?.split(',')
      .map((domain) => domain.trim())
      .filter(Boolean) ?? ['localhost'],
    routerAddress: baseUrl('router-address', text('router-address')),
    instancePorts: portRange('instance-ports', text('instance-ports') ?? '20000-29999'),
    appPorts: portRange('app-ports', text('app-ports') ?? '8100-8299'),
    drainTimeoutMs: wholeNumber(
      'drain-timeout-ms',
      text('drain-timeout-ms') ?? String(DEFAULTS.drainTimeoutMs),
      0,
      86_400_000,
    ),
    maxInstancesPerApp: wholeNumber(
      'max-instances-per-app',
      text('max-instances-per-app') ?? String(DEFAULTS.maxInstancesPerApp),
      1,
      64,
    ),
    workspaceId: text('workspace-id') ?? '0',
    logLevel: text('log-level') ?? 'info',
  }
}

const envName = (flag: Flag): string => `COPPICE_${flag.toUpperCase().replaceAll('-', '_')}`

function invalid(flag: Flag, reason: string): CoppiceError {
  return new CoppiceError('InvalidInput', `--${flag} (${envName(flag)}): ${reason}`, { field: flag })
}

function parseFlags(argv: readonly string[]): Partial<Record<Flag, string>> {
  try {
    return parseArgs({ args: [...argv], options: FLAGS, allowPositionals: false }).values
  } catch (error) {
    throw new CoppiceError('InvalidInput', (error as Error).message)
  }
}

function listenOf(flag: Flag, text: string): Listen {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65535) throw invalid(flag, `"${text}" is not host:port or [ipv6]:port`)
  return { host: (match[1] ?? match[2]) as string, port }
}

function portRange(flag: Flag, text: string): PortRange {
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(text)
  const [first, last] = [Number(match?.[1]), Number(match?.[2])]
  if (match === null || first < 1 || last > 65535 || first > last)
    throw invalid(flag, `"${text}" is not a range of ports such as 20000-29999`)
  return { first, last }
}

function wholeNumber(flag: Flag, text: string, min: number, max: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < min || value > max)
    throw invalid(flag, `"${text}" is not a whole number from ${min} to ${max}`)
  return value
}

function baseUrl(flag: Flag, text: string | undefined): string | null {
  if (text === undefined) return null
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !/^https?:$/.test(url.protocol) || url.pathname !== '/' || url.search !== '')
    throw invalid(flag, `"${text}" is not a base URL such as http://127.0.0.1:8080`)
  return url.origin
}
