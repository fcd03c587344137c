import { portOf } from '../domain/address.ts'
import { CoppiceError, type ErrorCode } from '../domain/errors.ts'
import { remainingMs } from '../domain/spans.ts'
import { assertNever } from '../domain/states.ts'
import { type Clock, sleep } from './clock.ts'
import type { InstanceSpec, Observation, Provider } from './contracts.ts'
import { isLoopback } from './listeners.ts'
import { type Answer, type Ask, askHttp, beyondLoopback, type CanConnect, canConnect } from './probe.ts'

/**
 * Waits until an instance serves, or until it is certain why it does not. Healthy means: one of its own processes
 * listens on its port, on more than loopback if the app is scaled, and the check is answered: below 400 on the path
 * that the deployment names, else anything below 500 on `/` (an app without a front page is still up).
 */
export type HealthOptions = {
  id: string
  spec: Pick<InstanceSpec, 'health' | 'mode' | 'portVariables' | 'command'>
  running: Extract<Observation, { state: 'running' }>
  provider: Pick<Provider, 'observe' | 'listeners' | 'logLines' | 'onChange'>
  clock: Clock
  /** Ends the waiting with the signal's reason; the instance is left as it is. */
  signal: AbortSignal
  /** By `clock.elapsed`; where it is not the first attempt of a start: what that has left. Default: the timeout from its start on. */
  deadline?: number
  onProgress?: (words: string) => void
  ask?: Ask
  canConnect?: CanConnect
  beyondLoopback?: string | null
}

export type Healthy = {
  /** Where it answers; differs from the provider's address when the app listens on IPv6 only. */
  address: string
  /** The loopback address on which alone it listens, or null; only standard apps get this far with one (R1.4). */
  loopbackOnly: string | null
}

/** First pause between two questions. A fast app is found fast; the growth keeps the overshoot below a fifth. */
const FIRST_PAUSE_MS = 25
const PAUSE_GROWTH = 1.2
const MAX_PAUSE_MS = 1_000
/** One question may take this long: longer than a slow first answer, short enough to ask again. */
export const ASK_LIMIT_MS = 5_000
/** Also the last question before the deadline is a fair one; what it finds is what people are told. */
const LEAST_ASK_MS = 1_000
/** Whoever was started long ago (by a worker that died) is still given this long. */
const LEAST_WAIT_MS = 5_000
/** Who holds the port of another for so long keeps it; another attempt on another port has to fit into the same timeout. */
const FOREIGN_MS = 5_000
/** So many of its last lines go with what is told of an instance. */
export const LOG_LINES = 30
/** An app may listen on every port there is, and what is told of it goes through the inventory and Temporal. */
const MAX_SHOWN = 5
const MAX_FOUND = 20

type Finding = Answer | { kind: 'foreign' }

const FINDINGS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'AppCrashedAtStart',
  'AppListensOnLoopback',
  'AppListensOnWrongPort',
  'AppDoesNotListen',
  'HealthCheckFailed',
  'HealthCheckTimedOut',
  'PortUnavailable',
])

/** Whether that is what was found out about the instance, and not why nothing could be found out. */
export const isFinding = (error: unknown): boolean => error instanceof CoppiceError && FINDINGS.has(error.code)

/**
 * Throws CoppiceError: AppCrashedAtStart and AppListensOnLoopback at once; at the deadline AppListensOnWrongPort,
 * AppDoesNotListen, HealthCheckFailed, HealthCheckTimedOut; PortUnavailable when somebody else keeps the port. All carry
 * the last log lines.
 */
export async function waitUntilHealthy(options: HealthOptions): Promise<Healthy> {
  const { clock, running, signal, spec } = options
  const { timeoutMs } = spec.health
  const leftMs = remainingMs(running.startedAt + timeoutMs, timeoutMs, clock.now())
  const deadline = options.deadline ?? clock.elapsed() + Math.max(leftMs, Math.min(timeoutMs, LEAST_WAIT_MS))
  const foreignLimitMs = Math.min(timeoutMs / 4, FOREIGN_MS)
  let foreignSince: number | null = null
  let change = new AbortController()
  const stopListening = options.provider.onChange((id) => id === options.id && change.abort())
  try {
    let progress = ''
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * PAUSE_GROWTH, MAX_PAUSE_MS)) {
      signal.throwIfAborted()
      change = new AbortController()
      const wake = AbortSignal.any([signal, change.signal])
      await failIfGone(options)
      const left = deadline - clock.elapsed()
      const { address, finding, own } = await look(options, Math.max(Math.min(ASK_LIMIT_MS, left), LEAST_ASK_MS), wake)
      if (isGood(finding, spec.health.path)) return await judgeListeners(options, address, own)
      if (wake.aborted) continue
      if (clock.elapsed() >= deadline) throw await diagnosis(options, finding)
      foreignSince = finding.kind === 'foreign' ? (foreignSince ?? clock.elapsed()) : null
      if (foreignSince !== null && clock.elapsed() - foreignSince >= foreignLimitMs) {
        const found = await diagnosis(options, finding)
        if (found.code === 'PortUnavailable') throw found
      }
      const words = await inWords(options, finding, pauseMs)
      if (words !== progress) options.onProgress?.(words)
      progress = words
      await sleep(clock, Math.min(pauseMs, Math.max(deadline - clock.elapsed(), 1)), wake)
    }
  } finally {
    stopListening()
  }
}

function isGood(finding: Finding, path: string | null): boolean {
  return finding.kind === 'status' && finding.status < (path === null ? 500 : 400)
}

/** `own`: where the instance itself listens on its port; looked for only when somebody has answered. */
type Look = { address: string; finding: Finding; own: string[] }

/** Asks on IPv4, and on IPv6 when nobody is there. A good answer counts only if it came from the instance. */
async function look(options: HealthOptions, timeLimitMs: number, signal: AbortSignal): Promise<Look> {
  const ask = options.ask ?? askHttp
  const { path } = options.spec.health
  const port = portOf(options.running.address)
  let result: Look = { address: options.running.address, finding: { kind: 'refused' }, own: [] }
  for (const address of new Set([options.running.address, `[::1]:${port}`])) {
    const finding = await ask({ address, path: path ?? '/', timeLimitMs, signal })
    result = { address, finding, own: [] }
    if (finding.kind !== 'refused' || signal.aborted) break
  }
  if (result.finding.kind === 'refused') return result
  const own = await options.provider.listeners(options.id, port)
  return own.length > 0 ? { ...result, own } : { ...result, finding: { kind: 'foreign' } }
}

/** R1.4: what its sockets say is checked by connecting, because that is what routers on other machines will do. */
async function judgeListeners(options: HealthOptions, address: string, own: string[]): Promise<Healthy> {
  const beyond = options.beyondLoopback === undefined ? beyondLoopback() : options.beyondLoopback
  const port = portOf(address)
  const reached = beyond !== null && (await (options.canConnect ?? canConnect)(beyond, port))
  const found = own.length > 0 && own.every(isLoopback) && !reached ? addressesInWords(own) : null
  if (found !== null && options.spec.mode === 'scaled') {
    throw await failure(
      options,
      'AppListensOnLoopback',
      `The app listens on ${found}, which only this machine can reach. It must listen on 0.0.0.0:${port} (or [::]:${port}).`,
      { found: own.slice(0, MAX_FOUND) },
    )
  }
  return { address, loopbackOnly: found }
}

async function failIfGone(options: HealthOptions): Promise<void> {
  const seen = await options.provider.observe(options.id)
  if (seen.state === 'running') return
  if (seen.state === 'absent') throw new CoppiceError('InstanceRetired', `the instance ${options.id} was removed`)
  const afterMs = Math.max(seen.at - options.running.startedAt, 0)
  throw await failure(
    options,
    'AppCrashedAtStart',
    `The app ended ${howItEnded(seen, options.spec.command)}, ${afterMs} ms after its start.`,
    {
      exitCode: seen.code,
      exitSignal: seen.signal,
    },
  )
}

/** In words for people, to follow "ended" or "crashed"; with the command for one that may never have begun. */
export function howItEnded(seen: Extract<Observation, { state: 'exited' }>, command?: readonly string[]): string {
  if (seen.signal !== null) return `by signal ${seen.signal}`
  if (seen.code === null) return '(how is not known: an earlier worker had started it)'
  // What POSIX shells answer when there is nothing to run, or nothing that may be run.
  if (command && seen.code === 127) return `with exit code 127: perhaps the command "${command[0]}" was not found`
  if (command && seen.code === 126) return `with exit code 126: perhaps the command "${command[0]}" is not executable`
  return `with exit code ${seen.code}`
}

/** What is told of an instance that is not up although it had been. */
export const crashInWords = (seen: Exclude<Observation, { state: 'running' }>): string =>
  seen.state === 'exited' ? `It crashed ${howItEnded(seen)}.` : 'It has gone, with its directory.'

async function diagnosis(options: HealthOptions, finding: Finding): Promise<CoppiceError> {
  const { health, portVariables } = options.spec
  const port = portOf(options.running.address)
  const path = health.path ?? '/'
  const within = `within ${health.timeoutMs} ms`
  const listening = await options.provider.listeners(options.id)
  const elsewhere = listening.filter((address) => portOf(address) !== port)
  const details = { found: listening.slice(0, MAX_FOUND), port }
  const seen = await options.provider.observe(options.id)
  if (seen.state === 'running' && seen.suspended)
    return failure(
      options,
      'HealthCheckTimedOut',
      `The app was stopped by a signal, and did not go on ${within}.`,
      details,
    )
  switch (finding.kind) {
    case 'status':
      return failure(
        options,
        'HealthCheckFailed',
        `The health check of ${path} was answered with status ${finding.status} ${within}; ${health.path === null ? 'below 500' : 'below 400'} is needed.`,
        { status: finding.status },
      )
    case 'noAnswer':
      return failure(
        options,
        'HealthCheckTimedOut',
        `The app accepts connections on port ${port}, but did not answer the health check of ${path} ${within} (${finding.why}).`,
      )
    case 'refused':
    case 'foreign':
      if (elsewhere.length > 0 && elsewhere.length === listening.length) {
        return failure(
          options,
          'AppListensOnWrongPort',
          `The app listens on ${addressesInWords(elsewhere)}, but must listen on port ${port}, which it is given in ${portVariables.join(' and ') || 'its command'}.`,
          details,
        )
      }
      if (listening.length > 0) {
        return failure(
          options,
          'AppDoesNotListen',
          `The app listens on ${addressesInWords(listening)}, where it is not reached; it must listen on 0.0.0.0:${port} (or [::]:${port}).`,
          details,
        )
      }
      if (finding.kind === 'foreign') {
        return failure(options, 'PortUnavailable', `Another program took port ${port} before the app listened on it.`)
      }
      return failure(options, 'AppDoesNotListen', `The app runs, but listens on no port ${within}.`, details)
    default:
      return assertNever(finding)
  }
}

/** Where it listens instead is said early, because the deadline may be minutes away; it may still open the right port. */
async function inWords(options: HealthOptions, finding: Finding, pauseMs: number): Promise<string> {
  const port = portOf(options.running.address)
  switch (finding.kind) {
    case 'status':
      return `it answers the health check with status ${finding.status}; waiting for a good answer`
    case 'noAnswer':
      return `it accepts connections on port ${port}; waiting for an answer`
    case 'refused':
    case 'foreign': {
      const found = pauseMs < MAX_PAUSE_MS / 2 ? [] : await options.provider.listeners(options.id)
      const instead = found.length > 0 ? `it listens on ${addressesInWords(found)}; ` : ''
      return `${instead}waiting for it to listen on port ${port}`
    }
    default:
      return assertNever(finding)
  }
}

function addressesInWords(addresses: readonly string[]): string {
  const shown = addresses.slice(0, MAX_SHOWN)
  const left = addresses.length - shown.length
  const last = left > 0 ? `${left} more` : shown.pop()
  return shown.length > 0 ? `${shown.join(', ')} and ${last}` : `${last}`
}

async function failure(
  options: HealthOptions,
  code: ErrorCode,
  message: string,
  details: Record<string, unknown> = {},
): Promise<CoppiceError> {
  const logLines = await options.provider.logLines(options.id, LOG_LINES)
  return new CoppiceError(code, message, { ...details, logLines })
}
