/**
 * The worker process: runs sagas and activities, and its provider runs the instances.
 *
 * SIGTERM: exits and leaves the instances running; the next worker adopts them. SIGINT: stops the instances first, but
 * leaves them wanted, so that the next start brings them back.
 */
import { join } from 'node:path'
import { createActivities } from '../activities/activities.ts'
import type { BuildingDeps } from '../activities/building.ts'
import { secretsNeeded } from '../domain/app-config.ts'
import { CoppiceError, withHint } from '../domain/errors.ts'
import { readyFile } from '../logging/ready-file.ts'
import { createArtifacts } from '../runtime/artifacts/artifacts.ts'
import { createBuilder } from '../runtime/builders/builder.ts'
import { readAppConfig } from '../runtime/builders/inspect.ts'
import { endLeftBuilds } from '../runtime/builders/left-builds.ts'
import { settleGround } from '../runtime/ground.ts'
import { createInstances } from '../runtime/instances.ts'
import { confinement } from '../runtime/providers/process/confinement.ts'
import { sweepControlGroups } from '../runtime/providers/process/control-group.ts'
import { isPortFree } from '../runtime/providers/process/free-port.ts'
import { createProcessProvider } from '../runtime/providers/process/process-provider.ts'
import { resolveSource } from '../runtime/source-roots.ts'
import { createSources } from '../runtime/sources/sources.ts'
import { toolPath } from '../runtime/tool-path.ts'
import { resolveTool } from '../scripts/toolchain/resolve.ts'
import { backupsFolder } from '../store/backups.ts'
import { acquireProcessLock } from '../store/process-lock.ts'
import { openStore } from '../store/store.ts'
import { METER_MS } from '../store/usage.ts'
import { openBuildLog } from './build-log.ts'
import { createFaults } from './faults.ts'
import { startHousekeeping } from './housekeeping.ts'
import { createInstanceInventory } from './instance-inventory.ts'
import { createLogger } from './logger.ts'
import { followNewBeginnings } from './new-beginnings.ts'
import { workerOptionsFrom } from './options.ts'
import { runTemporalWorker } from './temporal.ts'
import { workflowBundle } from './workflow-bundle.ts'

const RECONCILE_MS = 10_000

async function main(): Promise<void> {
  const options = workerOptionsFrom(process.env)
  const { home } = options.store
  const logger = createLogger(options.logLevel)
  const lock = acquireProcessLock(join(home, 'run', 'worker.lock'))
  if (lock === null)
    throw new CoppiceError('InvalidInput', `Another worker runs on the data directory ${home}; one is enough`)

  const ready = readyFile(process.env.COPPICE_READY_FILE)

  const now = Date.now
  const ground = await settleGround(home, { logger, env: process.env })
  const store = await openStore({ ...options.store, isPortFree })
  const artifacts = createArtifacts({ directory: ground.artifacts, pins: store.pins, now })
  const sources = createSources({ directory: join(home, 'sources'), pins: store.pins, now })
  const cacheDir = ground.cache
  const confined = confinement({
    uid: process.getuid?.() ?? -1,
    platform: process.platform,
    path: process.env.PATH ?? '',
    logger,
  })
  const { homeId } = store
  await endLeftBuilds({ homeId, making: join(ground.artifacts, 'making') }).catch((error: unknown) =>
    logger.warn({ err: error }, 'could not end what builds have left'),
  )
  sweepControlGroups(homeId)
  const tools = toolPath(process.execPath, process.env)
  const builder = createBuilder({
    artifacts,
    sources,
    pins: store.pins,
    tools: { uv: async () => (await resolveTool('uv')).path },
    cacheDir,
    toolPath: tools,
    env: process.env,
    prefix: () => confined,
    homeId,
    preinstalledFile: options.preinstalledFile,
    buildTimeoutMs: options.buildTimeoutMs,
  })
  const provider = createProcessProvider({
    home: ground.instances,
    homeId,
    logsDir: join(home, 'logs', 'instances'),
    ports: store.ports,
    logger,
    prefix: () => confined,
  })
  const buildLogs = join(home, 'logs', 'builds')
  const openLog: BuildingDeps['openBuildLog'] = (app, deployment) => openBuildLog(buildLogs, app, deployment)
  const inventory = createInstanceInventory({
    store,
    artifacts,
    builder,
    openBuildLog: openLog,
    options,
    logger,
    toolPath: tools,
  })
  // A start of the platform is a new chance for whatever kept crashing.
  await store.instances.beginAnew()
  const instances = createInstances({
    provider,
    inventory,
    logger,
    graceMs: options.stopGraceMs,
    restartSilentAfterMs: options.restartSilentAfterMs,
    reconcileEveryMs: RECONCILE_MS,
  })
  const stopping = new AbortController()
  const reconciled = instances
    .reconcile()
    .catch((error: unknown) => logger.error({ err: error }, 'could not reconcile'))

  // Not before what is observed is up to date.
  let meter: NodeJS.Timeout | undefined
  const countTime = () =>
    store.meter().catch((error: unknown) => logger.warn({ err: error }, 'could not count the time of instances'))
  void reconciled.then(() => {
    if (!stopping.signal.aborted) meter = setInterval(countTime, METER_MS)
  })

  const backups = { folder: backupsFolder(home), bounds: options.store.backups }
  const stopHousekeeping = startHousekeeping({ store, artifacts, sources, buildLogs, backups, logger, now })

  const following = followNewBeginnings({ store, instances, logger }, stopping.signal)

  let stopInstances = false
  process.on('SIGTERM', () => stopping.abort())
  process.on('SIGINT', () => {
    stopInstances = true
    stopping.abort()
  })

  await runTemporalWorker(
    {
      ...options.temporal,
      bundle: () => workflowBundle(join(cacheDir, 'workflows')),
      activities: createActivities({
        store,
        instances,
        sources,
        builder,
        temporalAddress: options.temporal.address,
        elapsed: () => performance.now(),
        faults: createFaults(process.env.COPPICE_FAULTS, async (id) => (await store.operations.get(id))?.app ?? null),
        resolveSource: (path) => resolveSource(options.sourceRoots, path),
        secretsOf: async (path) => secretsNeeded((await readAppConfig(path)).env),
        openBuildLog: openLog,
      }),
      store,
      logger,
      onReady: (takesWork) => {
        if (takesWork) ready.sayReady()
      },
    },
    stopping.signal,
  )

  // Nothing else may be left that keeps the process alive, and it has to see its instances end.
  const alive = setInterval(() => {}, 60_000)
  stopHousekeeping()
  await following
  await reconciled
  clearInterval(meter)
  await countTime()
  await instances.close()
  if (stopInstances)
    await Promise.all((await provider.list()).map((id) => provider.remove(id, { graceMs: options.stopGraceMs })))
  provider.close()
  await store.close()
  lock.release()
  clearInterval(alive)
  logger.info({ stopInstances }, 'stopped')
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    const text = error instanceof CoppiceError ? withHint(error.code, error.message) : String((error as Error).stack)
    process.stderr.write(`coppice worker: ${text}\n`)
    process.exit(1)
  },
)
