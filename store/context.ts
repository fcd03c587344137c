import type { Kysely, Transaction } from 'kysely'
import type { Schema } from './schema.ts'
import type { Seal } from './seal.ts'

/** Either the whole database or an open transaction: every query of the store runs in both. */
export type Db = Kysely<Schema> | Transaction<Schema>

/** What the nouns of the store share. */
export type StoreContext = {
  db: Kysely<Schema>
  /** Unix ms. */
  now: () => number
  newId: () => string
  seal: Seal
  inventory: string
}

/** Runs in one transaction that holds the write lock from its beginning. */
export const transact = <T>(context: StoreContext, work: (tx: Transaction<Schema>) => Promise<T>): Promise<T> =>
  context.db.transaction().execute(work)

export const parseJson = <T>(text: string | null): T | null => (text === null ? null : (JSON.parse(text) as T))
