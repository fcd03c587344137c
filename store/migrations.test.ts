import { existsSync, mkdirSync, mkdtempSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { stamp } from './backups.ts'
import { MIGRATIONS, migrate, schemaVersion } from './migrations.ts'
import { openStore } from './store.ts'

let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-migrate-'))
})
afterEach(() => removeTree(home))

const backups = () => (existsSync(join(home, 'backups')) ? readdirSync(join(home, 'backups')) : [])

function withInventory<T>(file: string, look: (raw: DatabaseSync) => T): T {
  const raw = new DatabaseSync(file)
  try {
    return look(raw)
  } finally {
    raw.close()
  }
}
const inventory = () => join(home, 'inventory.db')

async function openAndClose(migrations = MIGRATIONS): Promise<void> {
  const store = await openStore({ home, migrations })
  await store.close()
}

describe('R14.2 the inventory', () => {
  it('is backed up before it is migrated, as it was, and not when there is nothing to migrate', async () => {
    const store = await openStore({ home })
    await store.apps.create({ name: 'hello', mode: 'standard', instances: 1, creator: 'ada' })
    await store.close()
    await openAndClose()
    expect(backups()).toEqual([])

    await openAndClose([...MIGRATIONS, `alter table apps add column colour text; delete from apps;`])
    const [backup = ''] = backups()
    expect(backups()).toHaveLength(1)
    expect(backup).toMatch(new RegExp(`^inventory-v${MIGRATIONS.length}-\\d{8}T\\d{9}Z\\.db$`))
    expect(statSync(join(home, 'backups', backup)).mode & 0o777).toBe(0o600)
    withInventory(inventory(), (raw) => {
      expect(schemaVersion(raw)).toBe(MIGRATIONS.length + 1)
      expect(raw.prepare('select count(*) as n from apps').get()).toEqual({ n: 0 })
    })
    withInventory(join(home, 'backups', backup), (raw) => {
      expect(schemaVersion(raw)).toBe(MIGRATIONS.length)
      expect(raw.prepare('select name from apps').all()).toEqual([{ name: 'hello' }])
      expect(raw.prepare('pragma integrity_check').get()).toEqual({ integrity_check: 'ok' })
    })
  })

  it('stays as it is when a migration fails, and can be opened again', async () => {
    await openAndClose()
    await expect(openAndClose([...MIGRATIONS, 'drop table secrets; nonsense;'])).rejects.toThrow(/syntax/)
    withInventory(inventory(), (raw) => expect(schemaVersion(raw)).toBe(MIGRATIONS.length))
    await openAndClose()
  })

  it('of a newer program is refused with what to do, and not touched', async () => {
    await openAndClose()
    withInventory(inventory(), (raw) => raw.exec(`pragma user_version = ${MIGRATIONS.length + 1}`))
    await expect(openAndClose()).rejects.toMatchObject({
      code: 'StoreNewer',
      message: expect.stringContaining(`schema version ${MIGRATIONS.length + 1}`),
    })
    withInventory(inventory(), (raw) => expect(schemaVersion(raw)).toBe(MIGRATIONS.length + 1))
    expect(backups()).toEqual([])
  })

  it('R14.4 keeps the five newest backups', async () => {
    await openAndClose()
    const migrations = [...MIGRATIONS]
    for (let i = 0; i < 7; i++) {
      migrations.push(`create table more_${i} (x)`)
      const store = await openStore({ home, migrations, now: () => 1_700_000_000_000 + i })
      await store.close()
    }
    const newest = [2, 3, 4, 5, 6].map((i) => `v${MIGRATIONS.length + i}`)
    expect(backups().map((name) => name.split('-')[1])).toEqual(newest.toSorted())
  })

  it('R14.3 is migrated with its copy beside it, also when earlier copies were made while the clock was ahead', async () => {
    await openAndClose()
    const folder = join(home, 'backups')
    mkdirSync(folder)
    for (let i = 0; i < 5; i++) {
      const ahead = Date.now() + 400 * 24 * 3_600_000 + i
      const file = join(folder, `inventory-v1-${stamp(ahead)}.db`)
      writeFileSync(file, '')
      utimesSync(file, new Date(ahead), new Date(ahead))
    }
    await (await openStore({ home, migrations: [...MIGRATIONS, 'create table more (x)'] })).close()
    expect(backups().filter((name) => name.startsWith(`inventory-v${MIGRATIONS.length}-`))).toHaveLength(1)
    expect(backups()).toHaveLength(5)
  })
})

it('R12.8 a migration that finds the disk full says so, and not that it could not roll back; nothing of it stays', () => {
  withInventory(inventory(), (raw) => {
    const first = 'create table notes (text text not null)'
    migrate(raw, { migrations: [first] })
    raw.exec('pragma max_page_count = 3')
    const grows = 'insert into notes values (hex(zeroblob(100000)))'
    expect(() => migrate(raw, { migrations: [first, grows] })).toThrow('database or disk is full')
    expect([raw.isTransaction, schemaVersion(raw)]).toEqual([false, 1])
    raw.exec('pragma max_page_count = 1000000')
    expect(migrate(raw, { migrations: [first, grows] })).toEqual({ from: 1, to: 2 })
  })
})
