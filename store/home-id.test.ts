import { cpSync, mkdirSync, mkdtempSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openStore } from './store.ts'

let folder: string
let home: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-home-id-'))
  home = join(folder, 'home')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

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

it('R14.2 an older data directory keeps the id that its running instances have, a copy of it does not', async () => {
  for (const path of [home, join(folder, 'copy')]) mkdirSync(join(path, 'instances'), { recursive: true })
  writeFileSync(join(home, 'instances', '.marker'), '0123456789abcdef')
  const { ino } = statSync(join(home, 'instances'))
  const id = await idOf(home)
  expect(id).toBe(`0123456789abcdef-${ino}`)
  await rm(join(home, 'instances'), { recursive: true })
  expect(await idOf(home)).toBe(id)
})
