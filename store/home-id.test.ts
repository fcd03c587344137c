import { cpSync, mkdirSync, mkdtempSync, realpathSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { routerReportSchema } from '../domain/route-table.ts'
import { homeIdOf, isCopy, readHomeId } from './home-id.ts'
import { openStore } from './store.ts'
import { admitDeploy } from './testing.ts'

let folder: string
let home: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-home-id-'))
  home = join(folder, 'home')
})
afterEach(async () => {
  vi.restoreAllMocks()
  await rm(folder, { recursive: true, force: true })
})

async function idOf(path: string): Promise<string> {
  const store = await openStore({ home: path })
  await store.close()
  return store.homeId
}

it('R14.3 the id of a data directory outlives its folders and a rename, and a copy gets another one', async () => {
  const id = await idOf(home)
  expect(id).toMatch(/^[0-9a-f]{16}$/)
  await rm(join(home, 'instances'), { recursive: true, force: true })
  expect(await idOf(home)).toBe(id)
  cpSync(home, join(folder, 'copy'), { recursive: true })
  expect(await idOf(join(folder, 'copy'))).not.toBe(id)
  renameSync(home, join(folder, 'renamed'))
  expect(await idOf(join(folder, 'renamed'))).toBe(id)
})

it('R14.3 a copy of a data directory on which instances run is another inventory, and knows of none that does, nor of a router', async () => {
  const store = await openStore({ home })
  await store.apps.create({ name: 'hello', mode: 'standard', instances: 1, creator: 'ada' })
  const { add } = await admitDeploy(store, 'hello')
  await store.instances.observe(add[0]?.id as string, { observed: 'running', address: '127.0.0.1:20000', pid: 7 })
  const report = { router: 'main', incarnation: '1', inventory: store.inventory, version: 0, processes: 1 }
  const address = 'http://127.0.0.1:8080'
  await store.routers.report(routerReportSchema.parse({ ...report, inFlight: {}, address }))
  await store.close()
  cpSync(home, join(folder, 'copy'), { recursive: true })
  const known = async (path: string) => {
    const opened = await openStore({ home: path })
    const [instance] = await opened.instances.records()
    const routers = (await opened.routers.list()).length
    const { inventory } = await opened.routes.table({ domains: [] })
    const isOriginal = inventory === store.inventory && inventory === opened.inventory
    await opened.close()
    return { address: instance?.address, observed: instance?.observed, routers, isOriginal }
  }
  const [original, copy] = [home, join(folder, 'copy')]
  expect([original, copy].map((path) => isCopy(inventoryOf(path)))).toEqual([false, true])
  expect(await known(copy)).toEqual({ address: null, observed: 'pending', routers: 0, isOriginal: false })
  expect(isCopy(inventoryOf(copy))).toBe(false)
  expect(await known(original)).toEqual({
    address: '127.0.0.1:20000',
    observed: 'running',
    routers: 1,
    isOriginal: true,
  })
})

it('R14.2 an older data directory keeps the id that its running instances have, a copy of it does not', async () => {
  for (const path of [home, join(folder, 'copy')]) mkdirSync(join(path, 'instances'), { recursive: true })
  writeFileSync(join(home, 'instances', '.marker'), '0123456789abcdef')
  const { ino } = statSync(join(home, 'instances'))
  const id = await idOf(home)
  expect(id).toBe(`0123456789abcdef-${ino}`)
  await rm(join(home, 'instances'), { recursive: true })
  expect(await idOf(home)).toBe(id)
})

type Mark = { id: string; inode: number; path?: string }
const inventoryOf = (path: string) => join(path, 'inventory.db')
const foundIn = (path: string) => readHomeId(path, inventoryOf(path))

function mark(path: string, edit?: (mark: Mark) => Mark): Mark {
  const raw = new DatabaseSync(inventoryOf(path))
  const { value } = raw.prepare(`select value from meta where key = 'home'`).get() as { value: string }
  const edited = edit?.(JSON.parse(value)) ?? JSON.parse(value)
  raw.prepare(`update meta set value = ? where key = 'home'`).run(JSON.stringify(edited))
  raw.close()
  return edited
}

/** As the copy is on another disk, whose numbers begin anew: it has what stands in the original, and it is its own. */
function copyToOtherDisk(): string {
  const copy = join(folder, 'copy')
  cpSync(home, copy, { recursive: true })
  mark(copy, (found) => ({ ...found, inode: statSync(inventoryOf(copy)).ino }))
  return copy
}

it('R14.3 a copy on another disk, where its inventory has the same inode, has another id, also for who only looks', async () => {
  const id = await idOf(home)
  const copy = copyToOtherDisk()
  expect(foundIn(copy)).toBe(null)
  expect(foundIn(home)).toBe(id)
  const drawn = await idOf(copy)
  expect(drawn).not.toBe(id)
  expect([foundIn(copy), await idOf(copy), await idOf(home)]).toEqual([drawn, drawn, id])
})

it('R14.3 a copy whose original cannot be read does not take its id', async () => {
  const id = await idOf(home)
  const copy = copyToOtherDisk()
  writeFileSync(inventoryOf(home), 'damaged beyond repair'.repeat(100))
  expect(foundIn(copy)).toBe(null)
  expect(await idOf(copy)).not.toBe(id)
})

it('R14.3 a data directory that was renamed keeps its id where another one, or an old copy of it, has taken its place', async () => {
  const id = await idOf(home)
  const [renamed, again] = [join(folder, 'renamed'), join(folder, 'renamed again')]
  renameSync(home, renamed)
  expect(await idOf(home)).not.toBe(id)
  expect(foundIn(renamed)).toBe(id)
  expect(await idOf(renamed)).toBe(id)
  renameSync(renamed, again)
  cpSync(again, renamed, { recursive: true })
  expect(await idOf(again)).toBe(id)
  expect(await idOf(renamed)).not.toBe(id)
})

it('R14.2 an inventory that tells only the inode goes on under its id, and tells its path from then on', async () => {
  const id = await idOf(home)
  const { inode } = mark(home, ({ id, inode }) => ({ id, inode }))
  expect(foundIn(home)).toBe(id)
  expect(await idOf(home)).toBe(id)
  expect(mark(home)).toEqual({ id, inode, path: realpathSync(inventoryOf(home)) })
})

it('R14.2 R12.8 on a full disk an older or renamed data directory goes on under its id, and one without an id is told why not', async () => {
  const id = await idOf(home)
  mark(home, ({ id, inode }) => ({ id, inode }))
  const { exec } = DatabaseSync.prototype
  vi.spyOn(DatabaseSync.prototype, 'exec').mockImplementation(function (this: DatabaseSync, sql) {
    if (sql !== 'commit') return exec.call(this, sql)
    exec.call(this, 'rollback')
    throw Object.assign(new Error('database or disk is full'), { code: 'ERR_SQLITE_ERROR', errcode: 13 })
  })
  const file = inventoryOf(home)
  const raw = new DatabaseSync(file)
  expect(homeIdOf(raw, home, file)).toBe(id)
  raw.exec(`delete from meta where key = 'home'`)
  expect(() => homeIdOf(raw, home, file)).toThrow('disk is full')
  raw.close()
  vi.restoreAllMocks()
  const drawn = await idOf(home)
  expect([drawn !== id, mark(home).path]).toEqual([true, realpathSync(file)])
})
