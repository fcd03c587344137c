import { mkdirSync, mkdtempSync, readdirSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { CoppiceError } from '../domain/errors.ts'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { BACKUP_BOUNDS, stamp } from '../store/backups.ts'
import { openStore, type Store } from '../store/store.ts'
import { type HousekeepingOptions, keepHouse } from './housekeeping.ts'
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

/** A house in which nothing is kept but what a test puts there. */
function house(more: Partial<HousekeepingOptions>): HousekeepingOptions {
  const none = {
    sweep: async () => {},
    collect: async () => ({ removed: [], kept: 0, stuck: [] }),
    open: async () => null,
  }
  return {
    store,
    artifacts: none,
    sources: none,
    buildLogs: join(home, 'builds'),
    backups: { folder: join(home, 'backups'), bounds: BACKUP_BOUNDS },
    logger: createLogger('silent'),
    now: Date.now,
    ...more,
  }
}

it('R14.4 backups go when they are too old, also while nobody makes another one', async () => {
  const folder = join(home, 'backups')
  mkdirSync(folder)
  const now = Date.now()
  const name = (at: number) => `coppice-${stamp(at)}.tar.gz`
  for (const days of [1, 2, 29, 31]) {
    const at = now - days * 24 * 3_600_000
    const file = join(folder, name(at))
    writeFileSync(file, 'x')
    utimesSync(file, new Date(at), new Date(at))
  }
  await keepHouse(house({ backups: { folder, bounds: BACKUP_BOUNDS }, now: () => now }))
  expect(readdirSync(folder).sort()).toEqual([29, 2, 1].map((days) => name(now - days * 24 * 3_600_000)))
})

it('R14.4 build logs go when they are too old, whatever else lies among them', async () => {
  const now = Date.now()
  const buildLogs = join(home, 'builds')
  const old = (...path: string[]) => {
    const file = join(buildLogs, ...path)
    utimesSync(file, new Date(now - 31 * 24 * 3_600_000), new Date(now - 31 * 24 * 3_600_000))
  }
  for (const app of ['before', 'later']) {
    mkdirSync(join(buildLogs, app, 'a-folder'), { recursive: true })
    symlinkSync('nowhere', join(buildLogs, app, 'a-link'))
    for (const name of ['build-1.log', 'build-2.log']) writeFileSync(join(buildLogs, app, name), 'x')
    old(app, 'build-1.log')
    old(app, 'a-folder')
  }
  writeFileSync(join(buildLogs, 'foreign'), 'x')
  const warned = vi.fn()
  await keepHouse(house({ logger: { ...createLogger('silent'), warn: warned } as never, now: () => now }))
  expect(warned).not.toHaveBeenCalled()
  for (const app of ['before', 'later']) expect(readdirSync(join(buildLogs, app))).toEqual(['a-link', 'build-2.log'])
  expect(readdirSync(buildLogs)).toContain('foreign')
})

it('R14.4 build logs are bounded in the sum of their sizes: the newest stay, also beside those of a clock that was ahead', async () => {
  const now = Date.now()
  const buildLogs = join(home, 'builds')
  const add = (app: string, name: string, at: number) => {
    mkdirSync(join(buildLogs, app), { recursive: true })
    const file = join(buildLogs, app, name)
    writeFileSync(file, '')
    truncateSync(file, 400 * 2 ** 20)
    utimesSync(file, new Date(at), new Date(at))
  }
  add('shop', 'new.log', now)
  add('shop', 'older.log', now - 2_000)
  add('other', 'old.log', now - 1_000)
  add('other', 'ahead.log', now + 9e7)
  await keepHouse(house({ now: () => now }))
  expect([readdirSync(join(buildLogs, 'shop')), readdirSync(join(buildLogs, 'other'))]).toEqual([
    ['new.log'],
    ['old.log'],
  ])
})

it('R14.4 of each deployment of an earlier version is noted what it needs, whatever becomes of those before it', async () => {
  const run = (name: string) => ({ run: { env: [{ name, valueFrom: name.toLowerCase() }] } })
  const noted: unknown[] = []
  const earlier = ['closed', 'keyless', 'gone', 'good'].map((id) => ({ id, artifact: `app-${id}` }))
  const artifacts = {
    ...house({}).artifacts,
    open: async (key: string) => {
      if (key === 'app-closed') throw Object.assign(new Error('permission denied'), { code: 'EACCES' })
      return key === 'app-gone' ? null : run('TOKEN')
    },
  }
  const env = async (id: string) => {
    if (id === 'keyless') throw new CoppiceError('SecretKeyLost', 'the key is gone')
    return []
  }
  vi.spyOn(store.deployments, 'withoutSecrets').mockResolvedValue(earlier)
  vi.spyOn(store.deployments, 'env').mockImplementation(env)
  vi.spyOn(store.secrets, 'note').mockImplementation(async (...note) => void noted.push(note))
  const warned: string[] = []
  await keepHouse(
    house({
      artifacts: artifacts as never,
      logger: {
        ...createLogger('silent'),
        warn: ({ chore, err }: { chore: string; err: Error }) => warned.push(`${chore}: ${err.message}`),
      } as never,
    }),
  )
  expect(noted).toEqual([['good', ['token']]])
  expect(warned).toEqual(['note secrets of earlier versions: permission denied'])
})

it('R14.4 a chore that fails is named, and keeps none of the others from being done', async () => {
  const warned: string[] = []
  const asked: string[] = []
  const failing = (what: string) => async (): Promise<never> => {
    asked.push(what)
    throw new Error(`cannot ${what}`)
  }
  const every = <T extends object>(name: string): T =>
    new Proxy({} as T, { get: (_target, method) => failing(`${name}.${String(method)}`) })
  await keepHouse({
    store: new Proxy({} as Store, { get: (_target, noun) => every(String(noun)) }),
    artifacts: every('artifacts'),
    sources: every('sources'),
    // Not folders: these fail by themselves.
    buildLogs: join(home, 'inventory.db', 'builds'),
    backups: { folder: join(home, 'inventory.db'), bounds: BACKUP_BOUNDS },
    logger: { ...createLogger('silent'), warn: (fields: { chore: string }) => warned.push(fields.chore) } as never,
    now: Date.now,
  })
  expect(asked).toEqual([
    'deployments.letGo',
    'deployments.withoutSecrets',
    'pins.dropOrphans',
    'artifacts.collect',
    'sources.collect',
    'operations.trim',
    'deployments.trim',
    'events.trim',
  ])
  expect(warned).toEqual([
    'let deployments go',
    'note secrets of earlier versions',
    'drop orphaned pins',
    'collect artifacts',
    'collect sources',
    'trim operations',
    'trim deployments',
    'trim events',
    'prune backups',
  ])
})
