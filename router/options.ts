import { availableParallelism, hostname } from 'node:os'
import { parseArgs } from 'node:util'
import { CoppiceError } from '../domain/errors.ts'
import { withoutTrailing } from '../domain/trailing.ts'
import { LONGEST_TIMER_MS, type Range, wholeNumber } from '../domain/whole-number.ts'
import type { Pem } from './self-signed.ts'

/** Everything the router can be told. Resolved once: flag, then environment, then default. */
export type RouterOptions = {
  /** Where traffic arrives: `host:port`, or `fd:N` for a socket that the supervisor opened and keeps open. */
  listen: Listen
  /** Where the tables come from; both null is refused. */
  controlPlane: string | null
  /** File with the bearer token of the control plane. */
  tokenFile: string | null
  /** A route table in a file, watched; for a router that stands alone. */
  routes: string | null
  /** Where the last table is kept. Without it a router that restarts while the control plane is down has no routes. */
  stateDir: string | null
  /** Stable name; two routers of one control plane must not share it. */
  name: string
  /**
   * Names in lower case, besides addresses, `localhost` and the host names of apps, by which ports of apps and the admin
   * listener are reached; others are refused there, because a web page can make its own name lead here (R13.7).
   * Trusted proxies have judged it themselves. Default: the name of this machine.
   */
  hosts: string[]
  /** The admin listener; null for none. Keep it on loopback: it tells everything about every app. */
  admin: Listen | null
  /** File with the bearer token of the admin listener; made, mode 0600, in the state directory if not given. */
  adminTokenFile: string | null
  /** Processes that carry traffic. More than the cores there are makes nothing faster. */
  processes: number
  /** Adds X-Served-By (instance, slot, deployment) to every answer. For debugging: it tells clients about the inside. */
  servedBy: boolean
  /** Peers whose X-Forwarded-*, X-Real-Ip, X-Request-Id are believed: addresses or CIDR ranges (R13.2). */
  trustedProxies: string[]
  tls: TlsOptions | null
  /** Serve beyond loopback. Apps that are not confined can then be reached by everybody who reaches the router (R13.5). */
  exposeUnconfinedApps: boolean
  accessLog: AccessLogOptions
  limits: Limits
  timeouts: Timeouts
  checks: CheckOptions
}

export type Listen = { host: string; port: number } | { fd: number }

/**
 * PEM files, read again when they change; `selfSigned` makes a certificate for the given names instead, and `pem` is such
 * a one that could not be kept.
 */
export type TlsOptions = { cert: string; key: string } | { selfSigned: string[] } | { pem: Pem }

export type AccessLogOptions = {
  /** Fraction of requests that leave a line on stdout, 0 (off) to 1 (all); errors of the router always do if not 0. */
  sample: number
}

export type Limits = {
  /** Longest request target, in bytes; longer ones get 414. */
  maxUriBytes: number
  /** All header names and values together, in bytes; more get 431. */
  maxHeaderBytes: number
  /** Number of headers; more get 431. */
  maxHeaders: number
  /** Longest request body, in bytes; 0 for no limit. Longer ones get 413. */
  maxBodyBytes: number
  /** Client connections of one process, on all its ports; further ones are closed at once. Each costs a descriptor, two with a request. */
  maxConnections: number
  /**
   * Places in one process for requests that wait for an instance or for a resume; further ones get 503 at once. An app
   * alone has half of them.
   */
  maxWaiting: number
}

/** All in ms; 0 means none. */
export type Timeouts = {
  /** For the whole head of a request (slow-loris). */
  requestHeadMs: number
  /** Between two pieces of a request body. A live upload has no other deadline. */
  requestBodyIdleMs: number
  /** A client that takes none of what waits for it for so long is cut off, at most half of it later; WebSockets once they end. */
  writeStallMs: number
  /** A client that has closed its side gets its answer still; one that could be sent nothing of it for so long has gone. */
  clientHalfClosedMs: number
  /**
   * A connection of a client on which nothing has come for so long is probed (TCP keepalive): a client that vanished without a
   * word has it closed 10 s later. Lower it where a box in between forgets idle connections sooner. 1 s to 32,767 s, counted
   * in seconds: what is between two is rounded up.
   */
  clientProbeMs: number
  /** An idle connection of a client. */
  clientKeepAliveMs: number
  tlsHandshakeMs: number
  /** One try to connect. Then a new session goes elsewhere, one that lives there tries again until `firstByteMs`. */
  connectMs: number
  /** From the request to the head of the answer (504); WebSockets and event streams are exempt once they run. */
  firstByteMs: number
  /** How long a request waits for an instance when there is none, before 503. */
  noInstanceWaitMs: number
  /** How long a request waits while the traffic of its app is held, before 503. */
  holdWaitMs: number
  /** For requests in flight when the router stops. */
  stopGraceMs: number
  /** Over how much time the long-lived connections of a draining instance are closed, so that they do not return as a herd. */
  drainSpreadMs: number
  /** A process that has not been heard of for so long is killed and replaced. Starved machines stall for a second. */
  workerSilenceMs: number
}

/** When an instance is asked, and what its answer means (R12.2); all in ms. Who answers requests is not asked. */
export type CheckOptions = {
  /** One that has sent nothing for so long, and was asked for nothing, is asked. Raise it where a front page is costly. */
  idleMs: number
  /** A request that waits for so long without a byte from the instance is a reason to ask it. */
  quietMs: number
  /** A question that waits for longer keeps new sessions away. */
  waitMs: number
  /** Pause before a bad answer is looked at again; two in a row eject. Two of these and two answers stay under 3 s. */
  confirmMs: number
}

export const DEFAULT_LIMITS: Limits = {
  maxUriBytes: 8 * 1024,
  maxHeaderBytes: 16 * 1024,
  maxHeaders: 200,
  maxBodyBytes: 0,
  maxConnections: 20_000,
  maxWaiting: 2000,
}

export const DEFAULT_TIMEOUTS: Timeouts = {
  requestHeadMs: 10_000,
  requestBodyIdleMs: 60_000,
  writeStallMs: 120_000,
  clientHalfClosedMs: 120_000,
  clientProbeMs: 60_000,
  clientKeepAliveMs: 65_000,
  tlsHandshakeMs: 10_000,
  connectMs: 2_000,
  firstByteMs: 120_000,
  noInstanceWaitMs: 5_000,
  holdWaitMs: 30_000,
  stopGraceMs: 30_000,
  drainSpreadMs: 5_000,
  workerSilenceMs: 3_000,
}

export const DEFAULT_CHECKS: CheckOptions = { idleMs: 30_000, quietMs: 1000, waitMs: 1000, confirmMs: 500 }

/** Described for people in `usage.ts`. */
export const FLAGS = {
  listen: { type: 'string' },
  'control-plane': { type: 'string' },
  'token-file': { type: 'string' },
  routes: { type: 'string' },
  'state-dir': { type: 'string' },
  name: { type: 'string' },
  hosts: { type: 'string' },
  admin: { type: 'string' },
  'admin-token-file': { type: 'string' },
  processes: { type: 'string' },
  'served-by': { type: 'boolean' },
  'trusted-proxies': { type: 'string' },
  'tls-cert': { type: 'string' },
  'tls-key': { type: 'string' },
  'tls-self-signed': { type: 'string' },
  'expose-unconfined-apps': { type: 'boolean' },
  'access-log': { type: 'string' },
  limit: { type: 'string', multiple: true },
  timeout: { type: 'string', multiple: true },
  check: { type: 'string', multiple: true },
} as const

/**
 * Flags, else `COPPICE_ROUTER_<FLAG>`, else defaults. `--limit name=value`, `--timeout name=ms` and `--check name=ms`
 * set the fields of the types above, e.g. `--timeout firstByteMs=30000`; they may be repeated.
 * @throws CoppiceError InvalidInput, with the flag as its field
 */
export function resolveOptions(argv: readonly string[], env: NodeJS.ProcessEnv): RouterOptions {
  const flags = parseFlags(argv)
  const text = (flag: keyof typeof FLAGS): string | undefined => {
    const value = flags[flag]
    if (typeof value === 'string') return value
    return env[envName(flag)] || undefined
  }
  const on = (flag: keyof typeof FLAGS): boolean =>
    flags[flag] === true || ['1', 'true'].includes(env[envName(flag)] ?? '')
  const many = (flag: 'limit' | 'timeout' | 'check'): string[] => {
    const given = flags[flag]
    return Array.isArray(given) ? given : (env[envName(flag)]?.split(',').filter(Boolean) ?? [])
  }

  const controlPlane = text('control-plane')
  const options: RouterOptions = {
    listen: parseListen('listen', text('listen') ?? '127.0.0.1:8080'),
    controlPlane: controlPlane === undefined ? null : withoutTrailing(controlPlane, '/'),
    tokenFile: text('token-file') ?? null,
    routes: text('routes') ?? null,
    stateDir: text('state-dir') ?? null,
    name: text('name') ?? `router-${hostname()}`,
    hosts: listOf(text('hosts') ?? hostname()).map((name) => name.toLowerCase()),
    admin: text('admin') === undefined ? null : parseListen('admin', text('admin') as string),
    adminTokenFile: text('admin-token-file') ?? null,
    processes: whole('processes', text('processes') ?? String(Math.min(2, availableParallelism())), {
      min: 1,
      max: 64,
    }),
    servedBy: on('served-by'),
    trustedProxies: listOf(text('trusted-proxies')),
    tls: tlsOptions(text),
    exposeUnconfinedApps: on('expose-unconfined-apps'),
    accessLog: { sample: fraction('access-log', text('access-log') ?? '0') },
    limits: overridden('limit', DEFAULT_LIMITS, many('limit'), { min: 0, max: Number.MAX_SAFE_INTEGER }),
    timeouts: overridden('timeout', DEFAULT_TIMEOUTS, many('timeout'), TIMER, { clientProbeMs: PROBE }),
    checks: overridden('check', DEFAULT_CHECKS, many('check'), TIMER),
  }
  if ((options.controlPlane === null) === (options.routes === null)) {
    throw invalid('routes', 'give either --control-plane URL or --routes FILE')
  }
  if (options.controlPlane !== null && options.tokenFile === null) {
    throw invalid('token-file', '--control-plane needs --token-file')
  }
  if (options.admin !== null && options.adminTokenFile === null && options.stateDir === null) {
    throw invalid('admin-token-file', '--admin needs --admin-token-file or --state-dir')
  }
  if (options.tls !== null && 'selfSigned' in options.tls && options.stateDir === null) {
    throw invalid('tls-self-signed', 'the certificate has to be kept: add --state-dir')
  }
  if ('host' in options.listen && !isLoopbackHost(options.listen.host) && !options.exposeUnconfinedApps) {
    throw invalid(
      'listen',
      `${options.listen.host} is not loopback: apps that are not confined would be open to that network; if that is meant, add --expose-unconfined-apps`,
    )
  }
  return options
}

function parseFlags(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: FLAGS, allowPositionals: false }).values
  } catch (error) {
    throw new CoppiceError('InvalidInput', `${(error as Error).message}. All flags: node router/main.ts --help`)
  }
}

const listOf = (text = ''): string[] =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean)

const TIMER: Range = { min: 0, max: LONGEST_TIMER_MS, unit: 'ms' }

/** What Linux takes (MAX_TCP_KEEPIDLE); with anything else node keeps silent, and the system's own two hours count. */
const PROBE: Range = { min: 1000, max: 32_767_000, unit: 'ms', zero: 'never' }

const envName = (flag: string): string => `COPPICE_ROUTER_${flag.toUpperCase().replaceAll('-', '_')}`

/** For messages to whom it would help. */
export const HOSTS_OPTION = `--hosts (${envName('hosts')})`

const invalid = (flag: string, message: string) =>
  new CoppiceError('InvalidInput', `--${flag} (${envName(flag)}): ${message}`, { field: flag })

function parseListen(flag: string, text: string): Listen {
  const fd = /^fd:(\d+)$/.exec(text)
  if (fd) return { fd: Number(fd[1]) }
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (!match || port > 65535) throw invalid(flag, `"${text}" is not host:port, [ipv6]:port or fd:N`)
  return { host: (match[1] ?? match[2]) as string, port }
}

export const isLoopbackHost = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)

function tlsOptions(text: (flag: 'tls-cert' | 'tls-key' | 'tls-self-signed') => string | undefined): TlsOptions | null {
  const [cert, key, names] = [text('tls-cert'), text('tls-key'), text('tls-self-signed')]
  if (names !== undefined) return { selfSigned: listOf(names) }
  if (cert === undefined && key === undefined) return null
  if (cert === undefined || key === undefined) throw invalid('tls-cert', '--tls-cert and --tls-key go together')
  return { cert, key }
}

const whole = (flag: string, text: string, range: Range): number =>
  wholeNumber(`--${flag} (${envName(flag)})`, text, range, flag)

function fraction(flag: string, text: string): number {
  const value = text === 'on' ? 1 : text === 'off' ? 0 : /^[\d.]+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= 0 && value <= 1)) throw invalid(flag, `"${text}" is not on, off or a fraction from 0 to 1`)
  return value
}

/** @param narrow of those that take less than `range` */
function overridden<T extends Record<string, number>>(
  flag: string,
  defaults: T,
  given: string[],
  range: Range,
  narrow: { [name in keyof T]?: Range } = {},
): T {
  const result: Record<string, number> = { ...defaults }
  for (const pair of given) {
    const [name, value] = pair.split('=')
    if (name === undefined || !Object.hasOwn(defaults, name)) {
      throw invalid(flag, `"${pair}" names none of ${Object.keys(defaults).join(', ')}`)
    }
    result[name] = wholeNumber(`--${flag} ${name} (${envName(flag)})`, value ?? '', narrow[name] ?? range, flag)
  }
  return result as T
}
