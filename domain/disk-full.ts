import { CoppiceError } from './errors.ts'

/** What the system and SQLite (https://sqlite.org/rescode.html) say when they cannot write. */
const SYSTEM_CODES = new Set(['ENOSPC', 'EDQUOT'])
const SQLITE_FULL = 13
/** With its extended codes: a quota that is used up, or an index of the log that could not grow, comes as one of them. */
const SQLITE_IOERR = 10

type Trouble = { code?: unknown; errcode?: unknown; message?: unknown }

/**
 * DiskFull for whatever a full disk looks like, else null. A disk that fails looks the same to SQLite at times; the
 * message keeps its words, and it is not a defect of ours either.
 */
export function asDiskFull(error: unknown): CoppiceError | null {
  if (error instanceof CoppiceError) return error.code === 'DiskFull' ? error : null
  const { code, errcode, message } = (error ?? {}) as Trouble
  if (SYSTEM_CODES.has(String(code))) return new CoppiceError('DiskFull', 'The disk is full', {}, { cause: error })
  if (code !== 'ERR_SQLITE_ERROR' || typeof errcode !== 'number') return null
  const primary = errcode & 0xff
  if (primary === SQLITE_FULL) return new CoppiceError('DiskFull', 'The disk is full', {}, { cause: error })
  if (primary !== SQLITE_IOERR) return null
  const words = `The disk is full or fails: ${message} (SQLite ${errcode})`
  return new CoppiceError('DiskFull', words, {}, { cause: error })
}
