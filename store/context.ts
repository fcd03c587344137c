import type { Kysely, Transaction } from 'kysely'
import type { Schema } from './schema.ts'
import type { Seal } from './seal.ts'
import type { Sqlite } from './sqlite.ts'

/** Either the whole database or an open transaction: every query of the store runs in both. */
export type Db = Kysely<Schema> | Transaction<Schema>

/** What the nouns of the store share. */
export type StoreContext = {
  /** Reads what is committed; refuses to write. */
  db: Kysely<Schema>
  /** The way to write; see `write`. */
  writing: Sqlite<Schema>['write']
  /** Unix ms, for what is written down. It may jump. */
  now: () => number
  /** ms since some moment, for what is waited for in this process. It never jumps. */
  elapsed: () => number
  newId: () => string
  seal: Seal
  inventory: string
}

/** One transaction that reads: all of it is of one moment. It waits for nobody who writes. */
export const read = <T>(context: StoreContext, work: (tx: Transaction<Schema>) => Promise<T>): Promise<T> =>
  context.db.transaction().execute(work)

/**
 * One transaction that writes, with the write lock from its beginning. Waiting for the lock holds up nothing else.
 *
 * @throws CoppiceError Unavailable when another process keeps it for too long
 */
export const write = <T>(context: StoreContext, work: (tx: Transaction<Schema>) => Promise<T>): Promise<T> =>
  context.writing(work)

export const parseJson = <T>(text: string | null): T | null => (text === null ? null : (JSON.parse(text) as T))
