/** Copies of the inventory: whole and consistent, whatever writes to it meanwhile. */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { newestFirst } from '../domain/spans.ts'

/**
 * What stays in the folder of backups (R14.4). The newest of each kind stays whatever its size, and the newest
 * `KEPT_AT_ANY_AGE` whatever their age.
 */
export type BackupBounds = {
  /** Of each kind. */
  maxCount: number
  /** Of all together. */
  maxBytes: number
  maxAgeMs: number
}

export const BACKUP_BOUNDS: BackupBounds = { maxCount: 5, maxBytes: 10 * 2 ** 30, maxAgeMs: 30 * 24 * 3_600_000 }

/** Before a migration; of the whole data directory. By the names that we give: what somebody named himself is his. */
const KINDS = [/^inventory-v\d+-\d{8}T\d{9}Z\.db$/, /^coppice-\d{8}T\d{9}Z\.tar\.gz$/]
/** A clock that is wrong for a while makes everything old, and backups are what people fall back to (R14.3). */
const KEPT_AT_ANY_AGE = 3
/** What a process that died has left half written. */
const STALE_MS = 3_600_000

export const backupsFolder = (home: string): string => join(home, 'backups')

/** Before a migration: a copy in the data directory. @returns its path. */
export function backUpInventory(
  home: string,
  { name, now, bounds }: { name: string; now: number; bounds: BackupBounds },
): string {
  const folder = backupsFolder(home)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const file = join(folder, `${name}-${stamp(now)}.db`)
  const draft = `${file}.${process.pid}.new`
  try {
    copyInventory(home, draft)
    renameSync(draft, file)
  } catch (error) {
    // On a full disk half a copy is in its own way.
    for (const path of [draft, `${draft}-journal`]) rmSync(path, { force: true })
    throw error
  }
  makeRoom(file, bounds, now)
  return file
}

/** For one that was made just now. What cannot be removed is housekeeping's to tell: the backup is there all the same. */
export function makeRoom(made: string, bounds: BackupBounds, now: number): void {
  try {
    pruneBackups(dirname(made), bounds, { now, made })
  } catch {
    // Tried again, and told, every ten minutes.
  }
}

/**
 * `VACUUM INTO` reads in one transaction and writes a database of its own without a journal (SQLite documentation,
 * "VACUUM"). A connection of its own, because the one that is about to migrate holds the write lock.
 */
export function copyInventory(home: string, to: string): void {
  rmSync(to, { force: true })
  // It takes an empty file, and its journal gets the mode of it: nobody else can read either while they are written.
  closeSync(openSync(to, 'wx', 0o600))
  const source = new DatabaseSync(join(home, 'inventory.db'), { timeout: 10_000 })
  try {
    source.prepare('vacuum into ?').run(to)
  } finally {
    source.close()
  }
}

/**
 * Removes what goes past the bounds, oldest first, and drafts of processes that died. Throws when all had their turn.
 *
 * @param made the one that was made just now, if one was: the newest of its kind, whatever the clock says.
 */
export function pruneBackups(
  folder: string,
  bounds: BackupBounds,
  { now, made = null }: { now: number; made?: string | null },
): void {
  if (!existsSync(folder)) return
  const byTime = newestFirst(now)
  const files = readdirSync(folder)
    .flatMap((name) => {
      const path = join(folder, name)
      // Another process may prune at the same time.
      const found = statSync(path, { throwIfNoEntry: false })
      return found === undefined ? [] : [{ path, name, at: found.mtimeMs, size: found.size }]
    })
    .sort((a, b) => Number(b.path === made) - Number(a.path === made) || byTime(a.at, b.at) || byName(b, a))
  const kinds = KINDS.map((kind) => files.filter(({ name }) => kind.test(name)))
  const doomed: string[] = []
  let bytes = kinds.reduce((sum, [newest]) => sum + (newest?.size ?? 0), 0)
  const older = kinds.flatMap((kind) => kind.slice(1).map((file, index) => ({ ...file, rank: index + 1 })))
  for (const { path, at, size, rank } of older.sort((a, b) => byTime(a.at, b.at))) {
    bytes += size
    const isOld = now - at > bounds.maxAgeMs && rank >= KEPT_AT_ANY_AGE
    if (rank >= bounds.maxCount || bytes > bounds.maxBytes || isOld) doomed.push(path)
  }
  for (const { path, name, at } of files)
    if (/\.new(-journal)?$/.test(name) && Math.abs(now - at) > STALE_MS) doomed.push(path)
  const failures: unknown[] = []
  for (const path of doomed) {
    try {
      rmSync(path, { force: true })
    } catch (error) {
      failures.push(error)
    }
  }
  if (failures.length > 0) throw failures[0]
}

const byName = (a: { name: string }, b: { name: string }): number => a.name.localeCompare(b.name)

/** `20260102T030405678Z`: sorts by time and is a file name everywhere. */
export const stamp = (ms: number): string => new Date(ms).toISOString().replaceAll(/[-:.]/g, '')
