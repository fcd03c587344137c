import { expect, it } from 'vitest'
import { asDiskFull } from './disk-full.ts'
import { CoppiceError } from './errors.ts'

const sqlite = (errcode: number, message: string) =>
  Object.assign(new Error(message), { code: 'ERR_SQLITE_ERROR', errcode })

it.each([
  [Object.assign(new Error('write'), { code: 'ENOSPC' }), 'The disk is full'],
  [Object.assign(new Error('write'), { code: 'EDQUOT' }), 'The disk is full'],
  [sqlite(13, 'database or disk is full'), 'The disk is full'],
  [sqlite(778, 'disk I/O error'), 'The disk is full or fails: disk I/O error (SQLite 778)'],
  [sqlite(4874, 'disk I/O error'), 'The disk is full or fails: disk I/O error (SQLite 4874)'],
])('R12.8 %s is a full disk and no defect of ours', (error, message) => {
  expect(asDiskFull(error)).toMatchObject({ code: 'DiskFull', message, cause: error })
})

it.each([
  new Error('database or disk is full'),
  sqlite(5, 'database is locked'),
  sqlite(19, 'constraint failed'),
  Object.assign(new Error('no'), { code: 'ENOENT' }),
  new CoppiceError('NotFound', 'no'),
  null,
  'text',
])('%s is none', (error) => {
  expect(asDiskFull(error)).toBeNull()
})
