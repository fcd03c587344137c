/**
 * `node:sqlite` under Kysely: nothing in `npm ci` has to be compiled (DESIGN D0).
 *
 * Two connections a process, WAL mode: one reads, one writes. Readers never wait for whoever writes, in this process or
 * another (https://sqlite.org/wal.html, "Concurrency"). The driver is synchronous, so nothing may wait inside of SQLite:
 * its busy timeout is 0, and who finds the inventory locked asks again later, while the event loop goes on.
 *
 * `synchronous=NORMAL` keeps every committed transaction through the death of any process; only the loss of power may
 * take the last ones (SQLite "Atomic commit", WAL), and then the database is still consistent.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  CompiledQuery,
  type DatabaseConnection,
  type Driver,
  Kysely,
  type QueryResult,
  SqliteAdapter,
  type SqliteDatabase,
  SqliteDialect,
  type SqliteDialectConfig,
  SqliteDriver,
  type SqliteStatement,
  type Transaction,
} from 'kysely'
import { asDiskFull } from '../domain/disk-full.ts'
import { CoppiceError } from '../domain/errors.ts'

export type SqliteOptions = {
  /** Path of the database file. */
  file: string
  /** Brings a database that is opened to where it can be used. Whatever it waits for it waits inside of SQLite. */
  prepare?: (raw: DatabaseSync) => void
  /** How long to wait for another process's transaction, in ms. Ours last under 5 ms; 10 s is for a stalled disk. */
  patienceMs?: number
}

export type Sqlite<Schema> = {
  /** For reads: what is committed, and in a transaction one state of it. A write through it fails. */
  reader: Kysely<Schema>
  /**
   * Runs `work` in a transaction that holds the write lock from its beginning: one that read first and wrote later would
   * fail when another process wrote in between. One after the other, in the order of the calls.
   *
   * @throws CoppiceError Unavailable when the lock cannot be had in time, DiskFull
   */
  write<T>(work: (tx: Transaction<Schema>) => Promise<T>): Promise<T>
  close(): Promise<void>
}

const PATIENCE_MS = 10_000

export function openSqlite<Schema>({ file, prepare, patienceMs = PATIENCE_MS }: SqliteOptions): Sqlite<Schema> {
  const raw = new DatabaseSync(file, { timeout: patienceMs })
  try {
    raw.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;')
    prepare?.(raw)
    raw.exec('PRAGMA busy_timeout=0')
  } catch (error) {
    raw.close()
    throw asDiskFull(error) ?? error
  }
  const fromNow = () => performance.now() + patienceMs
  /** Of the one whose turn it is to write. Its patience began when it was asked for, not with its turn. */
  let deadline = 0
  let last: Promise<unknown> = Promise.resolve()
  const writer = kyselyOver<Schema>(raw, { begin: 'begin immediate', deadline: () => deadline })
  const snapshots = new DatabaseSync(file, { readOnly: true, timeout: 0 })
  const reader = kyselyOver<Schema>(snapshots, { begin: 'begin deferred', deadline: fromNow })
  return {
    reader,
    write: (work) => {
      const own = fromNow()
      const turn = last.then(() => {
        deadline = own
        return writer.transaction().execute(work)
      })
      last = turn.catch(() => {})
      return turn
    },
    close: async () => {
      await reader.destroy()
      // The last to go: it alone can put the journal away.
      await writer.destroy()
    },
  }
}

type Patience = {
  begin: string
  /** Until when to ask again, by the monotonic clock. */
  deadline: () => number
}

const kyselyOver = <Schema>(raw: DatabaseSync, patience: Patience): Kysely<Schema> =>
  new Kysely<Schema>({ dialect: new PatientDialect({ database: adapt(raw) }, patience, raw) })

/** Pauses between two looks, in ms; the last one goes on. SQLite's own busy handler begins like this. */
const PAUSES_MS = [1, 2, 5, 10, 15, 20, 25]

/** Asks again while another process holds the lock, and lets everything else go on meanwhile. */
class PatientConnection implements DatabaseConnection {
  readonly #inner: DatabaseConnection
  readonly #deadline: () => number

  constructor(inner: DatabaseConnection, deadline: () => number) {
    this.#inner = inner
    this.#deadline = deadline
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    const deadline = this.#deadline()
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#inner.executeQuery<R>(query)
      } catch (error) {
        if (!isBusy(error)) throw asDiskFull(error) ?? error
        if (performance.now() >= deadline)
          throw new CoppiceError(
            'Unavailable',
            'The inventory has been locked for too long by another process of this data directory, which is stopped or hangs',
            {},
            { cause: error },
          )
      }
      await sleep(PAUSES_MS[attempt] ?? PAUSES_MS.at(-1))
    }
  }

  streamQuery<R>(query: CompiledQuery, chunkSize: number): AsyncIterableIterator<QueryResult<R>> {
    return this.#inner.streamQuery<R>(query, chunkSize)
  }
}

/** SQLITE_BUSY and its extended codes, https://sqlite.org/rescode.html#busy */
export const isBusy = (error: unknown): boolean => ((error as { errcode?: number }).errcode ?? 0) % 256 === 5

class PatientDriver extends SqliteDriver {
  readonly #patience: Patience
  readonly #raw: DatabaseSync
  #connection: PatientConnection | null = null

  constructor(config: SqliteDialectConfig, patience: Patience, raw: DatabaseSync) {
    super(config)
    this.#patience = patience
    this.#raw = raw
  }

  override async acquireConnection(): Promise<DatabaseConnection> {
    this.#connection ??= new PatientConnection(await super.acquireConnection(), this.#patience.deadline)
    return this.#connection
  }

  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw(this.#patience.begin))
  }

  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    // On a full disk SQLite has rolled back itself (https://sqlite.org/lang_transaction.html); a second rollback fails,
    // and its error would take the place of the cause.
    if (this.#raw.isTransaction) await super.rollbackTransaction(connection)
  }
}

class PatientDialect extends SqliteDialect {
  readonly #config: SqliteDialectConfig
  readonly #patience: Patience
  readonly #raw: DatabaseSync

  constructor(config: SqliteDialectConfig, patience: Patience, raw: DatabaseSync) {
    super(config)
    this.#config = config
    this.#patience = patience
    this.#raw = raw
  }

  override createDriver(): Driver {
    return new PatientDriver(this.#config, this.#patience, this.#raw)
  }

  override createAdapter(): SqliteAdapter {
    return new SqliteAdapter()
  }
}

/** More than the distinct statements of the store; beyond it the oldest is prepared anew. */
const MAX_PREPARED = 500

function adapt(raw: DatabaseSync): SqliteDatabase {
  const prepared = new Map<string, SqliteStatement>()
  return {
    close: () => raw.close(),
    prepare: (sql) => {
      const known = prepared.get(sql)
      if (known !== undefined) return known
      const statement = adaptStatement(raw.prepare(sql))
      if (prepared.size >= MAX_PREPARED) prepared.delete(prepared.keys().next().value as string)
      prepared.set(sql, statement)
      return statement
    },
  }
}

function adaptStatement(statement: StatementSync): SqliteStatement {
  const values = (parameters: ReadonlyArray<unknown>) => parameters as SQLInputValue[]
  return {
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...values(parameters)),
    run: (parameters) => statement.run(...values(parameters)),
    iterate: (parameters) => statement.iterate(...values(parameters)) as IterableIterator<unknown>,
  }
}
