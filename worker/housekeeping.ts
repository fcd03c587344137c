/**
 * Keeps what grows within bounds (R14.4): artifacts, sources, kept deployments, operations, events, build logs,
 * backups. What an instance, an operation or a kept deployment needs is pinned and stays, whatever the bounds say (R4.3).
 */
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { secretsNeeded } from '../domain/app-config.ts'
import { newestFirst } from '../domain/spans.ts'
import { removeTree } from '../runtime/artifacts/trees.ts'
import type { Artifacts } from '../runtime/contracts.ts'
import { eachApart } from '../runtime/each-apart.ts'
import { type BackupBounds, pruneBackups } from '../store/backups.ts'
import type { EventBounds } from '../store/events.ts'
import type { OperationBounds } from '../store/operations.ts'
import type { Store } from '../store/store.ts'
import type { Logger } from './logger.ts'

type Kept = Pick<Artifacts, 'collect'> & { sweep(): Promise<void> }

export type HousekeepingOptions = {
  store: Store
  artifacts: Kept & Pick<Artifacts, 'open'>
  sources: Kept
  /** Folder of the build logs, one folder an app. */
  buildLogs: string
  backups: { folder: string; bounds: BackupBounds }
  logger: Logger
  now: () => number
}

/** How many deployments of an app keep their artifact, so that it can go back to them. */
const KEEP_DEPLOYMENTS = 10
/** Some 300 bytes each; one of a crash has up to 20 KiB. */
const KEEP_EVENTS: EventBounds = { count: 50_000, bytes: 256 * 2 ** 20 }
const DAY_MS = 24 * 3_600_000
const KEEP_MS = 30 * DAY_MS
/** With their steps some 5 KB each. The age is far past what Temporal remembers, which is 30 days. */
const KEEP_OPERATIONS: OperationBounds = { perApp: 1_000, total: 10_000, maxAgeMs: 365 * DAY_MS }
/** Of what nothing needs: a day's work comes back from it without a build. */
const LIMITS = { maxCount: 100, maxBytes: 20 * 2 ** 30, maxAgeMs: KEEP_MS }
/** Of all apps together: 200 that are as long as one can be. */
const BUILD_LOGS_BYTES = 2 ** 30
const EVERY_MS = 10 * 60_000

/** Runs now and every ten minutes. @returns the way to stop it. */
export function startHousekeeping(options: HousekeepingOptions): () => void {
  const run = () => keepHouse(options)
  void sweep(options).then(run)
  const timer = setInterval(run, EVERY_MS)
  return () => clearInterval(timer)
}

/** What is done only once, at the start: whoever died left it half made. */
const sweep = ({ artifacts, sources, logger }: HousekeepingOptions): Promise<void> =>
  each(logger, {
    'sweep artifacts': () => artifacts.sweep(),
    'sweep sources': () => sources.sweep(),
  })

export async function keepHouse(options: HousekeepingOptions): Promise<void> {
  const { store, artifacts, sources, buildLogs, backups, logger, now } = options
  const done = { removed: 0, deployments: 0, operations: 0 }
  const collect = async (kept: Kept) => {
    const { removed, stuck } = await kept.collect(LIMITS)
    done.removed += removed.length
    if (stuck.length > 0) throw new Error(stuck.map(({ key, reason }) => `${key}: ${reason}`).join('; '))
  }
  await each(logger, {
    'let deployments go': async () => {
      done.deployments = await store.deployments.letGo(KEEP_DEPLOYMENTS)
    },
    'note secrets of earlier versions': () => noteSecrets(options),
    'drop orphaned pins': () => store.pins.dropOrphans(),
    'collect artifacts': () => collect(artifacts),
    'collect sources': () => collect(sources),
    'trim operations': async () => {
      done.operations = await store.operations.trim(KEEP_OPERATIONS)
    },
    'trim deployments': () => store.deployments.trim(),
    'trim events': () => store.events.trim(KEEP_EVENTS),
    'prune build logs': () => pruneLogs(buildLogs, now()),
    'prune backups': async () => pruneBackups(backups.folder, backups.bounds, { now: now() }),
  })
  if (done.removed + done.deployments + done.operations > 0) logger.info(done, 'kept house')
}

/** One after the other, each by itself: what one cannot do must not keep the others from being done, for ever. */
async function each(logger: Logger, chores: Record<string, () => Promise<unknown>>): Promise<void> {
  for (const [chore, work] of Object.entries(chores))
    await work().catch((error: unknown) => logger.warn({ err: error, chore }, 'could not keep house'))
}

/** Deployments of a version that did not write down which secrets they need: their artifacts tell. */
async function noteSecrets({ store, artifacts }: HousekeepingOptions): Promise<void> {
  await eachApart(await store.deployments.withoutSecrets(), async ({ id, artifact }) => {
    const opened = await artifacts.open(artifact)
    if (opened === null) return
    await store.secrets.note(id, secretsNeeded([...opened.run.env, ...(await store.deployments.env(id))]))
  })
}

/** By age, and by the sum of their sizes: the newest stay. */
async function pruneLogs(folder: string, now: number): Promise<void> {
  const apps = (await readdir(folder, { withFileTypes: true }).catch(() => [])).filter((entry) => entry.isDirectory())
  const logs: Array<{ path: string; at: number; size: number }> = []
  const look = ({ name: app }: { name: string }) =>
    readdir(join(folder, app)).then((names) =>
      eachApart(names, async (name) => {
        const path = join(folder, app, name)
        const { mtimeMs, size } = await lstat(path)
        logs.push({ path, at: mtimeMs, size })
      }),
    )
  const prune = () => {
    const byTime = newestFirst(now)
    let bytes = 0
    return eachApart(
      logs.sort((a, b) => byTime(a.at, b.at)),
      async ({ path, at, size }) => {
        bytes += size
        if (now - at > KEEP_MS || bytes > BUILD_LOGS_BYTES) await removeTree(path)
      },
    )
  }
  await eachApart([() => eachApart(apps, look), prune], (chore) => chore())
}
