import { spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { rename } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { removeTree } from './artifacts/trees.ts'
import { GROUND, groundsOf, packagesAbove, partsOf, removeGrounds, settleGround } from './ground.ts'

vi.mock('node:fs/promises', async (original) => {
  const fs = await original<typeof import('node:fs/promises')>()
  return { ...fs, rename: vi.fn(fs.rename) }
})

/** What the kernel says of directories on disks that the test has not. */
const elsewhere = vi.hoisted(() => new Map<string, { ino: number; dev: number }>())
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>()
  const on = (stat: (...args: never[]) => import('node:fs').Stats | undefined) =>
    vi.fn((...args: never[]) => {
      const found = stat(...args)
      return found && Object.assign(found, elsewhere.get(String(args[0])))
    })
  return { ...fs, statSync: on(fs.statSync as never), lstatSync: on(fs.lstatSync as never) }
})

/** As with a mount in it. */
const removing = vi.hoisted(() => ({ held: '' }))
vi.mock('./artifacts/trees.ts', async (original) => {
  const trees = await original<typeof import('./artifacts/trees.ts')>()
  const removeTree = (path: string) =>
    path === removing.held ? Promise.reject(new Error(`EBUSY: ${path}`)) : trees.removeTree(path)
  return { ...trees, removeTree }
})

let folder: string
let clone: string
let home: string
const logger = { info: vi.fn(), warn: vi.fn() }
beforeEach(() => {
  vi.clearAllMocks()
  elsewhere.clear()
  removing.held = ''
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'coppice-ground-')))
  clone = join(folder, 'clone')
  home = join(clone, '.coppice')
  mkdirSync(join(clone, 'node_modules'), { recursive: true })
})
afterEach(() => removeTree(folder))

const lookup = () => ({ env: {}, places: [join(folder, 'state')] })
const settle = (path = home, places = [join(folder, 'state')]) => settleGround(path, { logger, env: {}, places })

it('R3.6 R14.1 keeps the trees in the data directory where no packages lie above it', async () => {
  const clear = join(folder, 'data')
  const ground = await settle(clear)
  expect(ground).toEqual(Object.fromEntries(GROUND.map((name) => [name, join(clear, name)])))
  expect(existsSync(join(folder, 'state'))).toBe(false)
})

it('R3.6 leads out of a clone, the same way at every start, and also after the data directory was renamed', async () => {
  const ground = await settle()
  for (const name of GROUND) {
    expect(packagesAbove(ground[name])).toBeNull()
    expect(realpathSync(join(home, name))).toBe(ground[name])
  }
  expect(await settle()).toEqual(ground)
  renameSync(home, join(clone, 'renamed'))
  expect(await settle(join(clone, 'renamed'))).toEqual(ground)
})

it('R14.3 is never without a word of whose it is: that is replaced as a whole, and only when it is another', async () => {
  const ground = dirname((await settle()).artifacts)
  const owner = join(ground, 'owner.json')
  const before = readFileSync(owner, 'utf8')
  // Sees what becomes of the file itself.
  linkSync(owner, join(folder, 'witness'))
  utimesSync(owner, new Date(0), new Date(0))
  await settle()
  expect(statSync(owner)).toMatchObject({ ino: statSync(join(folder, 'witness')).ino })
  expect(statSync(owner).mtimeMs).toBeGreaterThan(0)
  renameSync(home, join(clone, 'renamed'))
  await settle(join(clone, 'renamed'))
  expect(readFileSync(join(folder, 'witness'), 'utf8')).toBe(before)
  expect(JSON.parse(readFileSync(owner, 'utf8')).home).toBe(join(clone, 'renamed'))
  await removeGrounds(join(clone, 'renamed'), { env: {}, places: [] })
  expect(existsSync(ground)).toBe(false)
})

it('R14.2 takes the trees of an older version along, under running processes', async () => {
  mkdirSync(join(home, 'instances', 'a-1-0'), { recursive: true })
  mkdirSync(join(home, 'artifacts'))
  writeFileSync(join(home, 'artifacts', 'one'), 'kept')
  const child = spawn('sleep', ['60'], { cwd: join(home, 'instances', 'a-1-0') })
  try {
    const ground = await settle()
    expect(readFileSync(join(ground.artifacts, 'one'), 'utf8')).toBe('kept')
    expect(readlinkSync(`/proc/${child.pid}/cwd`)).toBe(join(ground.instances, 'a-1-0'))
  } finally {
    child.kill('SIGKILL')
  }
})

it('R14.2 takes them along onto another disk too, but no instances that run', async () => {
  const [one, running] = [join(home, 'artifacts', 'one'), join(home, 'instances', 'a-1-0')]
  for (const path of [running, join(home, 'artifacts'), join(home, 'cache')]) mkdirSync(path, { recursive: true })
  writeFileSync(one, 'kept', { mode: 0o444 })
  utimesSync(one, new Date(1000), new Date(1000))
  writeFileSync(join(home, 'cache', 'fetched'), 'can be fetched again')
  const real = vi.mocked(rename).getMockImplementation() as typeof rename
  // Nothing can be renamed there. What is copied instead is removed afterwards, under whoever runs in it.
  vi.mocked(rename).mockImplementation(async (from, to) => {
    if (dirname(String(from)) !== home) return real(from, to)
    throw Object.assign(new Error('cross-device link not permitted'), { code: 'EXDEV' })
  })
  try {
    const ground = await settle()
    expect(ground.instances).toBe(join(home, 'instances'))
    expect(existsSync(running)).toBe(true)
    expect(logger.warn).toHaveBeenCalledOnce()
    expect(readFileSync(join(ground.artifacts, 'one'), 'utf8')).toBe('kept')
    expect(statSync(join(ground.artifacts, 'one'))).toMatchObject({ mtimeMs: 1000, mode: 0o100444 })
    expect(readdirSync(ground.cache)).toEqual([])
    // What was stopped leaves only what is hidden.
    renameSync(running, join(home, 'instances', '.trash'))
    expect((await settle()).instances).toBe(join(dirname(ground.artifacts), 'instances'))
    expect(logger.warn).toHaveBeenCalledOnce()
  } finally {
    vi.mocked(rename).mockImplementation(real)
  }
})

it('R14.1 gives a copy of a data directory ground of its own', async () => {
  const ground = await settle()
  cpSync(home, join(clone, 'copy'), { recursive: true, verbatimSymlinks: true })
  const copied = await settle(join(clone, 'copy'))
  for (const name of GROUND) expect(copied[name]).not.toBe(ground[name])
  await removeGrounds(join(clone, 'copy'), lookup())
  expect(existsSync(ground.artifacts)).toBe(true)
  expect(existsSync(dirname(copied.artifacts))).toBe(false)
})

it('R14.3 the trees of a copy lie nowhere that the links which it has from the original lead, until it has some of its own', async () => {
  const ground = await settle()
  const [copy, renamed] = [join(clone, 'copy'), join(clone, 'renamed')]
  cpSync(home, copy, { recursive: true, verbatimSymlinks: true })
  for (const name of GROUND) {
    expect(partsOf(home, name, lookup())).toEqual([ground[name], join(home, name)])
    expect(partsOf(copy, name, lookup())).toEqual([])
  }
  // Then nobody is where the ground says that its owner is.
  renameSync(home, renamed)
  expect(partsOf(copy, 'instances', lookup())).toEqual([])
  expect(partsOf(renamed, 'instances', lookup())).toEqual([ground.instances, join(renamed, 'instances')])
  const copied = await settle(copy)
  expect(partsOf(copy, 'instances', lookup())).toEqual([copied.instances, join(copy, 'instances')])
  // As after one more copy over the first.
  unlinkSync(join(copy, 'instances'))
  symlinkSync(ground.instances, join(copy, 'instances'))
  expect(partsOf(copy, 'instances', lookup())).toEqual([copied.instances])
})

it('R14.3 gives a copy on another disk ground of its own, also where the number of its folder is the same there', async () => {
  elsewhere.set(home, { ino: 13, dev: 1 })
  const ground = await settle()
  const copy = join(clone, 'copy')
  cpSync(home, copy, { recursive: true, verbatimSymlinks: true })
  elsewhere.set(copy, { ino: 13, dev: 2 })
  expect(groundsOf(copy, lookup())).toEqual([])
  await removeGrounds(copy, lookup())
  const copied = await settle(copy)
  for (const name of GROUND) expect(copied[name]).not.toBe(ground[name])
  await removeGrounds(copy, lookup())
  expect([existsSync(ground.artifacts), existsSync(dirname(copied.artifacts))]).toEqual([true, false])
  expect(await settle()).toEqual(ground)
})

it('R14.3 goes on under a second name of its data directory, and where another disk was mounted at its old place', async () => {
  elsewhere.set(home, { ino: 2, dev: 1 })
  const ground = await settle()
  const mounted = join(clone, 'mounted')
  cpSync(home, mounted, { recursive: true, verbatimSymlinks: true })
  elsewhere.set(mounted, { ino: 2, dev: 1 })
  expect(groundsOf(mounted, lookup())).toEqual([dirname(ground.instances)])
  elsewhere.set(home, { ino: 4711, dev: 3 })
  expect(await settle(mounted)).toEqual(ground)
})

it('R14.3 goes on after a rename where nobody can look at its old place any more', async () => {
  const ground = await settle()
  const renamed = join(clone, 'renamed')
  renameSync(home, renamed)
  symlinkSync(home, home)
  expect(await settle(renamed)).toEqual(ground)
})

it('R14.3 that lost its links is found beside another disk, the top of which has the same number', async () => {
  elsewhere.set(home, { ino: 2, dev: 1 })
  const ground = dirname((await settle()).instances)
  const beside = join(clone, 'beside')
  mkdirSync(beside)
  elsewhere.set(beside, { ino: 2, dev: 2 })
  await removeTree(home)
  expect(groundsOf(home, lookup())).toEqual([ground])
})

it('R14.3 is found and removed when the data directory was removed, and not when it was only renamed', async () => {
  const ground = dirname((await settle()).instances)
  expect(groundsOf(home, lookup())).toEqual([ground])
  renameSync(home, join(clone, 'renamed'))
  expect(groundsOf(home, lookup())).toEqual([])
  await removeTree(join(clone, 'renamed'))
  expect(groundsOf(home, lookup())).toEqual([ground])
  await removeGrounds(home, lookup())
  expect(existsSync(ground)).toBe(false)
})

it('R13.8 of another data directory that cannot be removed takes nobody his place, and keeps no other from being removed', async () => {
  const old = dirname((await settle()).instances)
  // Made before the first one goes, or it could get the inode by which that is known.
  const other = join(clone, 'other')
  mkdirSync(other)
  await removeTree(home)
  const monthsAgo = new Date(Date.now() - 60 * 24 * 3_600_000)
  utimesSync(join(old, 'owner.json'), monthsAgo, monthsAgo)
  removing.held = old
  expect((await settle(other)).instances.startsWith(join(folder, 'state'))).toBe(true)
  const second = join(folder, 'state', 'second')
  cpSync(old, second, { recursive: true })
  await expect(removeGrounds(home, lookup())).rejects.toThrow('EBUSY')
  expect([existsSync(old), existsSync(second)]).toEqual([true, false])
})

it('is made again where it was lost, and leaves alone what somebody has put onto another disk', async () => {
  const ground = await settle()
  await removeTree(join(folder, 'state'))
  expect(await settle()).toEqual(ground)
  const other = join(clone, 'other')
  mkdirSync(join(folder, 'disk', 'artifacts'), { recursive: true })
  mkdirSync(other)
  symlinkSync(join(folder, 'disk', 'artifacts'), join(other, 'artifacts'))
  expect((await settle(other)).artifacts).toBe(join(folder, 'disk', 'artifacts'))
  expect(partsOf(other, 'artifacts', lookup())).toContain(join(folder, 'disk', 'artifacts'))
})

it('takes the first place without packages above it, and says so where there is none', async () => {
  const ground = await settle(home, [join(clone, 'state'), join(folder, 'second')])
  expect(ground.instances.startsWith(join(folder, 'second'))).toBe(true)
  const other = join(clone, 'other')
  expect((await settle(other, [join(clone, 'state')])).instances).toBe(join(other, 'instances'))
  expect(logger.warn).toHaveBeenCalledWith(
    { packages: join(clone, 'node_modules') },
    expect.stringContaining('do not declare'),
  )
})
