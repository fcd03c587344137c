/** Copies of the inventory: whole and consistent, whatever writes to it meanwhile. */
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** What stays in the folder of backups (R14.4). The newest of each kind stays whatever its age and size. */
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
  pruneBackups(folder, bounds, now)
  return file
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

/** Removes what goes past the bounds, oldest first, and drafts of processes that died. */
export function pruneBackups(folder: string, bounds: BackupBounds, now: number): void {
  if (!existsSync(folder)) return
  const files = readdirSync(folder)
    .flatMap((name) => {
      const path = join(folder, name)
      // Another process may prune at the same time.
      const found = statSync(path, { throwIfNoEntry: false })
      return found === undefined ? [] : [{ path, name, at: found.mtimeMs, size: found.size }]
    })
    .sort((a, b) => b.at - a.at || b.name.localeCompare(a.name))
  const kinds = KINDS.map((kind) => files.filter(({ name }) => kind.test(name)))
  let bytes = kinds.reduce((sum, [newest]) => sum + (newest?.size ?? 0), 0)
  const older = kinds.flatMap((kind) => kind.slice(1).map((file, index) => ({ ...file, rank: index + 1 })))
  for (const { path, at, size, rank } of older.sort((a, b) => b.at - a.at)) {
    bytes += size
    if (rank >= bounds.maxCount || bytes > bounds.maxBytes || now - at > bounds.maxAgeMs) rmSync(path, { force: true })
  }
  for (const { path, name, at } of files)
    if (/\.new(-journal)?$/.test(name) && now - at > STALE_MS) rmSync(path, { force: true })
}

/** `20260102T030405678Z`: sorts by time and is a file name everywhere. */
export const stamp = (ms: number): string => new Date(ms).toISOString().replaceAll(/[-:.]/g, '')
