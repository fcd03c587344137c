import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openSqlite, type Sqlite } from './sqlite.ts'

type Schema = { notes: { text: string } }

let home: string
let raw: DatabaseSync
let database: Sqlite<Schema>

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-full-'))
  database = openSqlite<Schema>({
    file: join(home, 'x.db'),
    prepare: (opened) => {
      raw = opened
      raw.exec('create table notes (text text not null)')
    },
  })
})
afterEach(async () => {
  await database.close()
  rmSync(home, { recursive: true })
})

const write = (bytes: number) =>
  database.write((tx) =>
    tx
      .insertInto('notes')
      .values({ text: 'x'.repeat(bytes) })
      .execute(),
  )
const count = async () => (await database.reader.selectFrom('notes').selectAll().execute()).length

it('R12.8 a write that finds the disk full says so and not that it could not roll back; nothing of it stays, and reads go on', async () => {
  await write(10)
  raw.exec('pragma max_page_count = 3')
  await expect(write(100_000)).rejects.toMatchObject({ code: 'DiskFull', message: 'The disk is full' })
  await expect(write(100_000)).rejects.toMatchObject({ code: 'DiskFull' })
  expect(raw.isTransaction).toBe(false)
  expect(await count()).toBe(1)
  // A write that fits, and all of them when there is room again, without anything being opened anew.
  await write(10)
  raw.exec('pragma max_page_count = 1000000')
  await write(100_000)
  expect(await count()).toBe(3)
})
