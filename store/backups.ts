/** Copies of the inventory: whole and consistent, whatever writes to it meanwhile. */
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** Of each kind; older ones are removed (R14.4). */
export const KEEP_BACKUPS = 5
/** What a process that died has left half written. */
const STALE_MS = 3_600_000

export const backupsFolder = (home: string): string => join(home, 'backups')

/** Before a migration: a copy in the data directory. @returns its path. */
export function backUpInventory(home: string, { name, now }: { name: string; now: number }): string {
  const folder = backupsFolder(home)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const file = join(folder, `${name}-${stamp(now)}.db`)
  const draft = `${file}.${process.pid}.new`
  copyInventory(home, draft)
  renameSync(draft, file)
  pruneBackups(folder, '.db')
  return file
}

/**
 * `VACUUM INTO` reads in one transaction and writes a database of its own without a journal (SQLite documentation,
 * "VACUUM"). A connection of its own, because the one that is about to migrate holds the write lock.
 */
export function copyInventory(home: string, to: string): void {
  rmSync(to, { force: true })
  const source = new DatabaseSync(join(home, 'inventory.db'), { timeout: 10_000 })
  try {
    source.prepare('vacuum into ?').run(to)
  } finally {
    source.close()
  }
  chmodSync(to, 0o600)
}

/** Keeps the newest of those that end in `suffix`. */
export function pruneBackups(folder: string, suffix: string, keep = KEEP_BACKUPS): void {
  const files = readdirSync(folder)
    .map((name) => ({ path: join(folder, name), name, at: statSync(join(folder, name)).mtimeMs }))
    .sort((a, b) => b.at - a.at || b.name.localeCompare(a.name))
  for (const { path } of files.filter(({ name }) => name.endsWith(suffix)).slice(keep)) rmSync(path, { force: true })
  for (const { path, name, at } of files)
    if (name.endsWith('.new') && Date.now() - at > STALE_MS) rmSync(path, { force: true })
}

/** `20260102T030405678Z`: sorts by time and is a file name everywhere. */
export const stamp = (ms: number): string => new Date(ms).toISOString().replaceAll(/[-:.]/g, '')
