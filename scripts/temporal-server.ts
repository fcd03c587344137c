import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { Connection } from '@temporalio/client'
import { CoppiceError } from '../domain/errors.ts'
import { TASK_QUEUE } from '../domain/product.ts'
import { freePorts, freePortsRefusedByBrowsers, REFUSED_BY_BROWSERS } from './stack/ports.ts'
import { Supervised } from './stack/supervised.ts'
import { resolveTool } from './toolchain/resolve.ts'
import type { OnProgress } from './toolchain/tools.ts'

/**
 * The embedded Temporal: the official CLI's dev server on an SQLite file, tuned (DESIGN D14). On loopback only.
 */

export const NAMESPACE = 'default'
/** Closed operations stay visible in Temporal this long; the inventory keeps its own history. */
const RETENTION_SECONDS = 30 * 24 * 3600
/** Cold on a loaded machine; 0.5 s otherwise. */
const START_TIMEOUT_MS = 30_000

/** The dev server's defaults are made for looking at it: 20 polls a second on its one shard make 100 ms a saga step. */
const DYNAMIC_CONFIG = [
  'system.enableActivityEagerExecution=true',
  'history.transferProcessorMaxPollRPS=5000',
  'history.timerProcessorMaxPollRPS=5000',
  'history.visibilityProcessorMaxPollRPS=5000',
  // The lock of an app is a workflow id: the next operation takes it at once, not a second later.
  'history.workflowIdReuseMinimalInterval=0',
  // Its HTTP API, on a random port that cannot be turned off, asks for nothing: any web page could start operations (R13.7).
  'frontend.httpAllowedHosts=[]',
]

export type TemporalCommandOptions = {
  /** Path of the `temporal` program. */
  cli: string
  /** Version of its server; the database file is named by it, because a server migrates no file of another. */
  version: string
  /** Folder of the database. */
  folder: string
  port: number
  /** Whether it shows its UI; where, `drawTemporalPorts` says. */
  ui: boolean
}

export function temporalCommand(options: TemporalCommandOptions): string[] {
  const { cli, port, ui } = options
  mkdirSync(options.folder, { recursive: true })
  return [
    ...[cli, 'server', 'start-dev', '--ip', '127.0.0.1', '--log-level', 'warn'],
    ...['--port', String(port), '--namespace', NAMESPACE],
    ...(ui ? ['--ui-ip', '127.0.0.1'] : ['--headless']),
    ...['--db-filename', databaseFile(options.folder, options.version)],
    ...['--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=NORMAL'],
    ...DYNAMIC_CONFIG.flatMap((value) => ['--dynamic-config-value', value]),
  ]
}

/**
 * Its metrics and its UI judge nobody, so both get ports that no browser connects to (R13.7). Fewer than needed are free
 * only where many stacks run; then metrics, which can only be read, are on a random port as by default.
 *
 * @throws CoppiceError PortUnavailable when there is none for the UI
 */
export async function drawTemporalPorts(ui: boolean): Promise<string[]> {
  const free = await freePortsRefusedByBrowsers()
  const uiPort = ui ? free.shift() : undefined
  if (ui && uiPort === undefined)
    throw new CoppiceError(
      'PortUnavailable',
      `Temporal's UI needs a port that browsers do not connect to, and ${REFUSED_BY_BROWSERS.join(', ')} are taken`,
    )
  return [
    ...(uiPort === undefined ? [] : [UI_PORT_FLAG, String(uiPort)]),
    ...(free[0] === undefined ? [] : ['--metrics-port', String(free[0])]),
  ]
}

const UI_PORT_FLAG = '--ui-port'

/** Of what was drawn. */
export function uiPortOf(drawn: readonly string[]): number | null {
  const at = drawn.indexOf(UI_PORT_FLAG)
  return at === -1 ? null : Number(drawn[at + 1])
}

const databaseFile = (folder: string, version: string): string => join(folder, `temporal-${version}.db`)

/**
 * Refuses to begin an empty database while operations are open in that of another server version: they would be lost
 * without a word (DESIGN D14).
 */
export function refuseToLeaveOpenOperations(folder: string, version: string): void {
  if (existsSync(databaseFile(folder, version)) || !existsSync(folder)) return
  for (const name of readdirSync(folder)) {
    const other = /^temporal-(\d+\.\d+\.\d+)\.db$/.exec(name)?.[1]
    const open = other === undefined ? 0 : openOperations(join(folder, name))
    if (open === 0) continue
    throw new CoppiceError(
      'InvalidState',
      `the Temporal server here is ${version}, but ${open} operation(s) are still open in the database of ${other}. ` +
        `Start once with a Temporal CLI of server ${other} (COPPICE_TEMPORAL_CLI=/path/to/temporal) and let them end, ` +
        `or give them up by removing ${join(folder, name)}; they are then repaired from the inventory`,
    )
  }
}

/** 1 is RUNNING (temporal.api.enums.v1.WorkflowExecutionStatus). */
function openOperations(file: string): number {
  const database = new DatabaseSync(file, { readOnly: true })
  try {
    const query = 'SELECT count(*) AS open FROM executions_visibility WHERE status = 1 AND task_queue = ?'
    return Number(database.prepare(query).get(TASK_QUEUE)?.open ?? 0)
  } finally {
    database.close()
  }
}

/** Waits until the server serves the namespace, and sets its retention. */
export async function waitForTemporal(address: string, signal?: AbortSignal): Promise<void> {
  for (;;) {
    signal?.throwIfAborted()
    const connection = await Connection.connect({ address, connectTimeout: '2s' }).catch(() => null)
    if (connection === null) {
      await sleep(25, undefined, { signal })
      continue
    }
    try {
      await connection.workflowService.updateNamespace({
        namespace: NAMESPACE,
        config: { workflowExecutionRetentionTtl: { seconds: RETENTION_SECONDS as never } },
      })
      return
    } catch {
      // It listens before its namespace is registered.
      await sleep(25, undefined, { signal })
    } finally {
      await connection.close()
    }
  }
}

/** One question and its answer; false within 3 s when there is none. */
export async function temporalAnswers(address: string): Promise<boolean> {
  const connection = await Connection.connect({ address, connectTimeout: '3s' }).catch(() => null)
  await connection?.close()
  return connection !== null
}

export type TemporalServer = {
  /** `host:port` */
  address: string
  pid: number
  kill(signal: NodeJS.Signals): void
  stop(): Promise<void>
}

export type TemporalServerOptions = {
  /** Folder of its database and log; a server started again on the same one goes on where it was. */
  folder: string
  /** 0 or none: a free one. */
  port?: number
  onProgress?: OnProgress
}

/** A server by itself, for tests; `npm start` runs the same one supervised. */
export async function startTemporalServer(options: TemporalServerOptions): Promise<TemporalServer> {
  const tool = await resolveTool('temporal', { onProgress: options.onProgress })
  refuseToLeaveOpenOperations(options.folder, tool.version)
  const port = options.port || ((await freePorts(1))[0] as number)
  const address = `127.0.0.1:${port}`
  const server = new Supervised(
    {
      name: 'temporal',
      command: temporalCommand({ cli: tool.path, version: tool.version, folder: options.folder, port, ui: false }),
      env: process.env,
      cwd: options.folder,
      logFile: join(options.folder, 'temporal.log'),
      stopSignal: 'SIGTERM',
      stopGraceMs: 10_000,
      ready: (signal) => waitForTemporal(address, signal),
      readyTimeoutMs: START_TIMEOUT_MS,
      restart: false,
    },
    { record: async () => {}, onEvent: () => {} },
  )
  await server.start()
  return {
    address,
    pid: server.pid as number,
    kill: (signal) => server.kill(signal),
    stop: async () => {
      await server.stop()
    },
  }
}
