/**
 * Keeps what grows within bounds (R14.4): artifacts, sources, kept deployments, events, build logs, backups. What an
 * instance, an operation or a kept deployment needs is pinned and stays, whatever the bounds say (R4.3).
 */
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type BackupBounds, pruneBackups } from '../store/backups.ts'
import type { Store } from '../store/store.ts'
import type { Logger } from './logger.ts'

type Collected = {
  sweep(): Promise<void>
  collect(limits: { maxCount: number; maxBytes: number; maxAgeMs: number }): Promise<{ removed: string[] }>
}

export type HousekeepingOptions = {
  store: Store
  artifacts: Collected
  sources: Collected
  /** Folder of the build logs, one folder an app. */
  buildLogs: string
  backups: { folder: string; bounds: BackupBounds }
  logger: Logger
  now: () => number
}

/** How many deployments of an app keep their artifact, so that it can go back to them. */
const KEEP_DEPLOYMENTS = 10
const KEEP_EVENTS = 50_000
const KEEP_MS = 30 * 24 * 3_600_000
/** Of what nothing needs: a day's work comes back from it without a build. */
const LIMITS = { maxCount: 100, maxBytes: 20 * 2 ** 30, maxAgeMs: KEEP_MS }
const EVERY_MS = 10 * 60_000

/** Runs now and every ten minutes. @returns the way to stop it. */
export function startHousekeeping(options: HousekeepingOptions): () => void {
  const run = () =>
    keepHouse(options).catch((error: unknown) => options.logger.warn({ err: error }, 'could not keep house'))
  void Promise.all([options.artifacts.sweep(), options.sources.sweep()]).then(run, run)
  const timer = setInterval(run, EVERY_MS)
  return () => clearInterval(timer)
}

export async function keepHouse({
  store,
  artifacts,
  sources,
  buildLogs,
  backups,
  logger,
  now,
}: HousekeepingOptions): Promise<void> {
  const letGo = await store.deployments.letGo(KEEP_DEPLOYMENTS)
  await store.pins.dropOrphans()
  const removed = [...(await artifacts.collect(LIMITS)).removed, ...(await sources.collect(LIMITS)).removed]
  await store.events.trim(KEEP_EVENTS)
  await pruneLogs(buildLogs, now() - KEEP_MS)
  pruneBackups(backups.folder, backups.bounds, now())
  if (removed.length + letGo > 0) logger.info({ removed: removed.length, deployments: letGo }, 'kept house')
}

async function pruneLogs(folder: string, before: number): Promise<void> {
  for (const app of await readdir(folder).catch(() => []))
    for (const name of await readdir(join(folder, app))) {
      const file = join(folder, app, name)
      if ((await stat(file)).mtimeMs < before) await rm(file, { force: true })
    }
}
