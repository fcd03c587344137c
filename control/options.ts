import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { CoppiceError } from '../domain/errors.ts'
import { LONGEST_TIMER_MS, type Range, wholeNumber } from '../domain/whole-number.ts'
import { storeOptionsFrom } from '../store/settings.ts'
import type { StoreOptions } from '../store/store.ts'
import { STREAM_LIMITS, type StreamLimits } from './event-stream.ts'
import { UPLOAD_LIMITS, type UploadLimits } from './uploads.ts'

/** Everything the control plane can be told. Resolved once: flag, then environment, then default. */
export type ControlOptions = {
  /** What the worker has to agree on: data directory (default `.coppice` in the clone), ports, drain, limits. */
  store: StoreOptions & { home: string }
  /**
   * Where the API listens, `host:port`; default 127.0.0.1:7400. Beyond loopback everybody who holds the token can run
   * programs on this machine, and the token crosses the network in clear text: put TLS in front (R13.5).
   */
  listen: Listen
  /**
   * Names by which the API is reached, besides addresses and `localhost`; others are refused, because a web page can
   * make its own name lead here (R13.7). Default: the one in `listen`. Add those of a proxy in front, or of a container.
   */
  apiHosts: string[]
  temporal: TemporalOptions
  /** File with the API's bearer token; made with mode 0600 if missing. Default `<home>/token`. */
  tokenFile: string
  /** Folders from which `source_code_path` may deploy. Default: the clone. */
  sourceRoots: string[]
  /** Domains under which every app has a host name. Default `localhost`. */
  domains: string[]
  /**
   * URL of an app, `{app}` for its name: what the API shows first and what apps get as DATABRICKS_APP_URL. Null makes
   * it of the first domain and the address that routers report; set it when something stands in front of them.
   */
  urlTemplate: string | null
  /** Given to apps and to clients that ask for it; a number as text. */
  workspaceId: string
  /** What streams of events, logs and route tables may take. */
  streams: StreamLimits
  /** What bodies of requests may take. */
  uploads: UploadLimits
  /** pino level: debug, info, warn, error, silent. */
  logLevel: string
}

export type Listen = { host: string; port: number }
export type TemporalOptions = { address: string; namespace: string }

const FLAGS = {
  home: { type: 'string' },
  'api-listen': { type: 'string' },
  'api-hosts': { type: 'string' },
  'temporal-address': { type: 'string' },
  'temporal-namespace': { type: 'string' },
  'token-file': { type: 'string' },
  'source-roots': { type: 'string' },
  domains: { type: 'string' },
  'url-template': { type: 'string' },
  'instance-ports': { type: 'string' },
  'app-ports': { type: 'string' },
  'drain-timeout-ms': { type: 'string' },
  'max-instances': { type: 'string' },
  'workspace-id': { type: 'string' },
  'max-streams': { type: 'string' },
  'max-streams-per-token': { type: 'string' },
  'stream-stall-ms': { type: 'string' },
  'max-uploads': { type: 'string' },
  'max-uploads-per-token': { type: 'string' },
  'body-stall-ms': { type: 'string' },
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
  const store = storeOptionsFrom({
    ...env,
    ...Object.fromEntries(SHARED.map((flag) => [envName(flag), text(flag)])),
    COPPICE_HOME: text('home') ?? join(projectRoot(), '.coppice'),
  })
  const listen = listenOf('api-listen', text('api-listen') ?? '127.0.0.1:7400')
  return {
    store,
    listen,
    apiHosts: [listen.host, ...listOf(text('api-hosts'))].map((name) => name.toLowerCase()),
    temporal: {
      address: text('temporal-address') ?? '127.0.0.1:7233',
      namespace: text('temporal-namespace') ?? 'default',
    },
    tokenFile: resolve(text('token-file') ?? join(store.home, 'token')),
    sourceRoots: (text('source-roots')?.split(':').filter(Boolean) ?? [projectRoot()]).map((root) => resolve(root)),
    domains: text('domains') === undefined ? ['localhost'] : listOf(text('domains')),
    urlTemplate: template('url-template', text('url-template')),
    workspaceId: text('workspace-id') ?? '1',
    streams: {
      maxStreams: whole('max-streams', text('max-streams'), STREAM_LIMITS.maxStreams, COUNT),
      maxStreamsPerToken: whole(
        'max-streams-per-token',
        text('max-streams-per-token'),
        STREAM_LIMITS.maxStreamsPerToken,
        COUNT,
      ),
      stallMs: whole('stream-stall-ms', text('stream-stall-ms'), STREAM_LIMITS.stallMs, STALL),
    },
    uploads: {
      maxUploads: whole('max-uploads', text('max-uploads'), UPLOAD_LIMITS.maxUploads, COUNT),
      maxUploadsPerToken: whole(
        'max-uploads-per-token',
        text('max-uploads-per-token'),
        UPLOAD_LIMITS.maxUploadsPerToken,
        COUNT,
      ),
      stallMs: whole('body-stall-ms', text('body-stall-ms'), UPLOAD_LIMITS.stallMs, STALL),
    },
    logLevel: text('log-level') ?? 'info',
  }
}

const COUNT: Range = { min: 1, max: 1_000_000 }
const STALL: Range = { min: 1, max: LONGEST_TIMER_MS, unit: 'ms' }

const listOf = (text = ''): string[] =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean)

function whole(flag: Flag, text: string | undefined, fallback: number, range: Range): number {
  return text === undefined ? fallback : wholeNumber(`--${flag} (${envName(flag)})`, text, range, flag)
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

/** Settings of `store/settings.ts` that have a flag here. */
const SHARED = ['instance-ports', 'app-ports', 'drain-timeout-ms', 'max-instances'] as const

function template(flag: Flag, text: string | undefined): string | null {
  if (text === undefined) return null
  if (!text.includes('{app}') || !URL.canParse(text.replace('{app}', 'app')))
    throw invalid(flag, `"${text}" is not a URL with {app} in it, such as http://{app}.localhost:8080`)
  return text
}
