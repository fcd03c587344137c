import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/**
 * A lock between processes that the kernel gives back when its holder dies, however it dies: an SQLite database held
 * in an exclusive transaction (fcntl locks, "File Locking And Concurrency In SQLite Version 3"). Node has no flock.
 *
 * The file says nothing and is never removed: removing it would let two holders lock two files of one name. Nothing
 * else may open it, because closing any descriptor of a file drops a process's fcntl locks on it.
 */
export type ProcessLock = { release(): void }

/** SQLITE_BUSY, https://sqlite.org/rescode.html#busy */
const BUSY = 5

/** Takes the lock, or returns null at once when another process (or this one) holds it. */
export function acquireProcessLock(file: string): ProcessLock | null {
  mkdirSync(dirname(file), { recursive: true })
  const database = new DatabaseSync(file, { timeout: 0 })
  try {
    // journal_mode=MEMORY: no journal file that a killed holder leaves behind; nothing is ever written here.
    database.exec('PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=MEMORY; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if ((error as { errcode?: number }).errcode === BUSY) return null
    throw error
  }
  let held = true
  return {
    release: () => {
      if (!held) return
      held = false
      database.close()
    },
  }
}
