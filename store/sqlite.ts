/**
 * `node:sqlite` under Kysely: nothing in `npm ci` has to be compiled (DESIGN D0).
 *
 * One connection a process, WAL mode. `synchronous=NORMAL` keeps every committed transaction through the death of any
 * process; only the loss of power may take the last ones (SQLite "Atomic commit", WAL), and then the database is still
 * consistent.
 */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import {
  CompiledQuery,
  type DatabaseConnection,
  type Driver,
  Kysely,
  SqliteAdapter,
  type SqliteDatabase,
  SqliteDialect,
  type SqliteDialectConfig,
  SqliteDriver,
  type SqliteStatement,
} from 'kysely'

export type SqliteOptions = {
  /** Path of the database file. */
  file: string
  /** How long a statement waits for another process's transaction, in ms. Ours last under 5 ms; 10 s is for a stalled disk. */
  busyTimeoutMs?: number
}

export function openSqlite<Schema>(options: SqliteOptions): { db: Kysely<Schema>; raw: DatabaseSync } {
  const raw = new DatabaseSync(options.file, { timeout: options.busyTimeoutMs ?? 10_000 })
  raw.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;')
  const db = new Kysely<Schema>({ dialect: new ImmediateSqliteDialect({ database: adapt(raw) }) })
  return { db, raw }
}

/**
 * Takes the write lock at the beginning of a transaction. A deferred one that reads first and writes later fails with
 * SQLITE_BUSY when another process wrote in between, and no busy timeout helps there.
 */
class ImmediateSqliteDriver extends SqliteDriver {
  override async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'))
  }
}

class ImmediateSqliteDialect extends SqliteDialect {
  readonly #config: SqliteDialectConfig

  constructor(config: SqliteDialectConfig) {
    super(config)
    this.#config = config
  }

  override createDriver(): Driver {
    return new ImmediateSqliteDriver(this.#config)
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
