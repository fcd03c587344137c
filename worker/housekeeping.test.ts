import { mkdirSync, mkdtempSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { BACKUP_BOUNDS, stamp } from '../store/backups.ts'
import { openStore, type Store } from '../store/store.ts'
import { keepHouse } from './housekeeping.ts'
import { createLogger } from './logger.ts'

let home: string
let store: Store
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'coppice-house-'))
  store = await openStore({ home })
})
afterEach(async () => {
  await store.close()
  await removeTree(home)
})

it('R14.4 backups go when they are too old, also while nobody makes another one', async () => {
  const folder = join(home, 'backups')
  mkdirSync(folder)
  const now = Date.now()
  const name = (at: number) => `coppice-${stamp(at)}.tar.gz`
  for (const days of [1, 29, 31]) {
    const at = now - days * 24 * 3_600_000
    const file = join(folder, name(at))
    writeFileSync(file, 'x')
    utimesSync(file, new Date(at), new Date(at))
  }
  const none = { sweep: async () => {}, collect: async () => ({ removed: [] }) }
  await keepHouse({
    store,
    artifacts: none,
    sources: none,
    buildLogs: join(home, 'builds'),
    backups: { folder, bounds: BACKUP_BOUNDS },
    logger: createLogger('silent'),
    now: () => now,
  })
  expect(readdirSync(folder).sort()).toEqual([29, 1].map((days) => name(now - days * 24 * 3_600_000)))
})
