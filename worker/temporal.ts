/**
 * The worker's connection to Temporal. It is sought again and again and never given up: instances are kept running with
 * or without it (R12.4), and sagas go on as soon as it is back (R12.6).
 */
import { Client, Connection } from '@temporalio/client'
import { DefaultLogger, NativeConnection, Runtime, Worker, type WorkflowBundle } from '@temporalio/worker'
import type { Activities } from '../activities/activities.ts'
import { DATA_CONVERTER } from '../domain/foreign-payloads.ts'
import { TASK_QUEUE } from '../domain/product.ts'
import type { Store } from '../store/store.ts'
import type { Logger } from './logger.ts'
import { type LostOperationsDeps, repairLostOperations } from './lost-operations.ts'

export type TemporalDeps = {
  address: string
  namespace: string
  bundle: () => Promise<WorkflowBundle>
  activities: Activities
  store: Store
  logger: Logger
  /** Called whenever the worker begins or ceases to take work. */
  onReady: (ready: boolean) => void
}

const RECONNECT_MS = 500
/** How often open operations are compared with open workflows. */
const LOST_CHECK_MS = 3_000
/** How long activities may go on after a stop was asked for; by default they are cut off at once. */
const SHUTDOWN_GRACE = '2 seconds'

/** Runs until `signal` is aborted. */
export async function runTemporalWorker(deps: TemporalDeps, signal: AbortSignal): Promise<void> {
  Runtime.install({
    logger: new DefaultLogger('WARN', ({ level, message, meta }) =>
      deps.logger[level === 'ERROR' ? 'error' : 'warn']({ meta: meta?.error ?? meta }, message),
    ),
    shutdownSignals: [],
  })
  const workflowBundle = await deps.bundle()
  while (!signal.aborted) {
    try {
      await runOnce(deps, workflowBundle, signal)
    } catch (error) {
      deps.logger.warn({ error: String(error) }, 'no connection to Temporal; trying again')
    }
    deps.onReady(false)
    if (!signal.aborted) await pause(RECONNECT_MS, signal)
  }
}

async function runOnce(deps: TemporalDeps, workflowBundle: WorkflowBundle, signal: AbortSignal): Promise<void> {
  const { address, namespace } = deps
  const connection = await NativeConnection.connect({ address })
  const clientConnection = await Connection.connect({ address, connectTimeout: '3s' })
  try {
    const worker = await Worker.create({
      connection,
      namespace,
      taskQueue: TASK_QUEUE,
      workflowBundle,
      activities: deps.activities,
      dataConverter: DATA_CONVERTER,
      // A killed worker's sticky queue would stall its sagas for 10 s otherwise.
      stickyQueueScheduleToStartTimeout: '1s',
      shutdownGraceTime: SHUTDOWN_GRACE,
      // Sagas are short: those kept beyond the ones that run only take memory (970 MB after 400 by default).
      maxCachedWorkflows: 50,
      maxConcurrentActivityTaskExecutions: 200,
      maxConcurrentLocalActivityExecutions: 200,
    })
    const stop = () => {
      if (worker.getState() === 'RUNNING') worker.shutdown()
    }
    signal.addEventListener('abort', stop)
    const client = new Client({ connection: clientConnection, namespace, dataConverter: DATA_CONVERTER })
    const seen = { requested: new Map<string, number>(), told: new Set<string>() }
    const look = () => checkLost(deps, client, seen)
    const watching = setInterval(look, LOST_CHECK_MS)
    look()
    try {
      const running = worker.run()
      deps.onReady(true)
      deps.logger.info({ address, namespace }, 'taking work')
      if (signal.aborted) stop()
      await running
    } finally {
      clearInterval(watching)
      signal.removeEventListener('abort', stop)
    }
  } finally {
    await connection.close().catch(() => {})
    await clientConnection.close().catch(() => {})
  }
}

function checkLost(
  { store, logger, address, namespace }: TemporalDeps,
  client: Client,
  seen: Pick<LostOperationsDeps, 'requested' | 'told'>,
): void {
  const temporal = { address, namespace }
  repairLostOperations({ store, logger, client, temporal, ...seen, elapsed: () => performance.now() }).catch(
    (error: unknown) => logger.warn({ error: String(error) }, 'could not compare open operations with open workflows'),
  )
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms)
    function done() {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done)
  })
}
