/**
 * The control plane process. It alone wires in what belongs to the runtime (sources, logs): the rest of `control/`
 * knows these as functions.
 */
import { join } from 'node:path'
import { CoppiceError, withHint } from '../domain/errors.ts'
import { createLogger } from '../logging/logger.ts'
import { createArtifacts } from '../runtime/artifacts/artifacts.ts'
import { createKeptThings } from '../runtime/artifacts/kept-things.ts'
import { runtimeChecks } from '../runtime/checks.ts'
import { lastLines, lastWholeLines, logSize, readLog } from '../runtime/log-file.ts'
import { isPortFree } from '../runtime/providers/process/free-port.ts'
import { resolveSource } from '../runtime/source-roots.ts'
import { createSources } from '../runtime/sources/sources.ts'
import { acquireProcessLock } from '../store/process-lock.ts'
import { openStore } from '../store/store.ts'
import { readOrMakeToken } from './auth.ts'
import { startControlPlane } from './control-plane.ts'
import { InstanceLogs } from './logs.ts'
import { resolveOptions } from './options.ts'
import { openTemporal } from './temporal.ts'

const SWEEP_MS = 10 * 60_000

async function main(): Promise<void> {
  const options = resolveOptions(process.argv.slice(2), process.env)
  const { home } = options.store
  const log = createLogger({ base: { process: 'control' }, level: options.logLevel })
  const lock = acquireProcessLock(join(home, 'run', 'control.lock'))
  if (lock === null)
    throw new CoppiceError('InvalidInput', `Another control plane runs on the data directory ${home}`, {
      field: 'home',
    })
  const token = readOrMakeToken(options.tokenFile)
  const store = await openStore({ ...options.store, isPortFree })
  const temporal = openTemporal(options.temporal)
  const sources = createSources({ directory: join(home, 'sources'), pins: store.pins, now: Date.now })
  const artifacts = createArtifacts({ directory: join(home, 'artifacts'), pins: store.pins, now: Date.now })
  const control = await startControlPlane({
    options,
    store,
    temporal,
    token,
    log,
    logs: new InstanceLogs({ directory: join(home, 'logs', 'instances'), lastLines, lastWholeLines, readLog, logSize }),
    receiveSource: sources.receive,
    hasSource: async (digest) => (await sources.path(digest)) !== null,
    resolveSource: (path) => resolveSource(options.sourceRoots, path),
    kept: createKeptThings(artifacts, sources),
    runtimeChecks: () =>
      runtimeChecks({
        home,
        homeId: store.homeId,
        instances: async () => new Set((await store.instances.records()).map(({ id }) => id)),
      }),
    // Processes share the machine: nothing holds one to its size (DESIGN D18).
    computeLimits: 'advisory',
  })
  // What this process could not remove; the worker sees to the rest.
  const sweeping = setInterval(() => {
    for (const kept of [artifacts, sources]) void kept.sweep()
  }, SWEEP_MS)
  log.info({ url: control.url, home, temporal: options.temporal.address }, 'the control plane listens')

  let stopping = false
  const stop = async (signal: string) => {
    if (stopping) return
    stopping = true
    log.info({ signal }, 'the control plane stops')
    clearInterval(sweeping)
    await control.stop()
    await temporal.close()
    await store.close()
    lock.release()
    process.exit(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop(signal))
}

main().catch((error: unknown) => {
  const text =
    error instanceof CoppiceError ? withHint(error.code, error.message) : String((error as Error).stack ?? error)
  process.stderr.write(`coppice control plane: ${text}\n`)
  process.exit(1)
})
