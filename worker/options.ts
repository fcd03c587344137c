/** Options of the worker: flag-less, because it is started by a supervisor. Every variable with its default. */
import { resolve } from 'node:path'
import { DEFAULTS } from '../domain/limits.ts'
import { wholeNumber } from '../domain/whole-number.ts'
import { storeOptionsFrom } from '../store/settings.ts'

export type WorkerOptions = {
  store: ReturnType<typeof storeOptionsFrom>
  temporal: {
    /** `COPPICE_TEMPORAL_ADDRESS`, host:port; default 127.0.0.1:7233, the Temporal CLI's own. */
    address: string
    /** `COPPICE_TEMPORAL_NAMESPACE`; default `default`. */
    namespace: string
  }
  /** `COPPICE_SOURCE_ROOTS`, folders separated by colons; default: the folder of the program. */
  sourceRoots: string[]
  /** `COPPICE_API_URL`: what apps get as DATABRICKS_HOST; default none. */
  apiUrl: string | null
  /** `COPPICE_WORKSPACE_ID`: what apps get as DATABRICKS_WORKSPACE_ID; default 1. */
  workspaceId: string
  /** `COPPICE_PREINSTALLED`: requirements file of the pre-installed libraries; default `config/preinstalled.txt`. */
  preinstalledFile: string
  /** `COPPICE_URL_TEMPLATE`: URL of an app, `{app}` for its name; what apps get as DATABRICKS_APP_URL. */
  urlTemplate: string
  /** `COPPICE_STOP_GRACE_MS`: from SIGTERM to SIGKILL, up to an hour; default 15 s, as the runtime contract has it. */
  stopGraceMs: number
  /**
   * `COPPICE_RESTART_SILENT_AFTER_MS`: how long an instance that was stopped by a signal, or has given the routers no byte
   * for longer than its app allows, is given to go on before it is started again; default 120000, from a second
   * to a day. Lower it where a deadlock is likelier than an app that computes for minutes.
   */
  restartSilentAfterMs: number
  /**
   * `COPPICE_BUILD_TIMEOUT_MS`: how long a build may take before it is given up; default 25 minutes, from a second to 28
   * minutes, because the step of the saga has 30. Lower it where builds are short, so that one without an end fails sooner.
   */
  buildTimeoutMs: number
  /** `COPPICE_LOG_LEVEL`, a pino level; default `info`. */
  logLevel: string
}

const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const PROGRAM = resolve(import.meta.dirname, '..')

export function workerOptionsFrom(env: NodeJS.ProcessEnv): WorkerOptions {
  return {
    store: storeOptionsFrom(env),
    temporal: {
      address: env.COPPICE_TEMPORAL_ADDRESS ?? '127.0.0.1:7233',
      namespace: env.COPPICE_TEMPORAL_NAMESPACE ?? 'default',
    },
    sourceRoots: (env.COPPICE_SOURCE_ROOTS ?? PROGRAM).split(':').filter((root) => root !== ''),
    apiUrl: env.COPPICE_API_URL ?? null,
    workspaceId: env.COPPICE_WORKSPACE_ID ?? '1',
    preinstalledFile: env.COPPICE_PREINSTALLED ?? resolve(PROGRAM, 'config', 'preinstalled.txt'),
    urlTemplate: env.COPPICE_URL_TEMPLATE ?? 'http://{app}.localhost:8080',
    stopGraceMs: milliseconds(env, 'COPPICE_STOP_GRACE_MS', DEFAULTS.stopGraceMs, { min: 0, max: HOUR_MS }),
    restartSilentAfterMs: milliseconds(env, 'COPPICE_RESTART_SILENT_AFTER_MS', DEFAULTS.restartSilentAfterMs, {
      min: 1_000,
      max: 24 * HOUR_MS,
    }),
    buildTimeoutMs: milliseconds(env, 'COPPICE_BUILD_TIMEOUT_MS', DEFAULTS.buildTimeoutMs, {
      min: 1_000,
      max: 28 * MINUTE_MS,
    }),
    logLevel: env.COPPICE_LOG_LEVEL ?? 'info',
  }
}

const milliseconds = (env: NodeJS.ProcessEnv, name: string, fallback: number, range: { min: number; max: number }) =>
  wholeNumber(name, env[name] || String(fallback), { ...range, unit: 'ms' })
