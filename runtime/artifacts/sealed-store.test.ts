import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createSealedStore } from './sealed-store.ts'
import { removeTree } from './trees.ts'

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  return { ...real, stat: vi.fn(real.stat), open: vi.fn(real.open) }
})
/** As a mount would in each of them. */
const removing = vi.hoisted(() => ({ isHeld: false }))
vi.mock('./trees.ts', async (original) => {
  const trees = await original<typeof import('./trees.ts')>()
  const removeTree = (path: string) =>
    removing.isHeld ? Promise.reject(new Error(`EBUSY: ${path}`)) : trees.removeTree(path)
  return { ...trees, removeTree }
})
const real = await vi.importActual<typeof import('node:fs/promises')>('node:fs/promises')

let home: string
let held: number[]
let clock: number
let pinned: Set<string>

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-store-'))
  clock = 1_000_000_000_000
  pinned = new Set()
  held = []
})
afterEach(async () => {
  for (const file of held) closeSync(file)
  removing.isHeld = false
  vi.mocked(stat).mockImplementation(real.stat)
  vi.mocked(open).mockImplementation(real.open)
  await removeTree(home)
})

const make = () =>
  createSealedStore({ directory: home, now: () => clock, pins: { isPinned: async (key) => pinned.has(key) } })

async function put(store: ReturnType<typeof make>, key: string, content = 'content', meta: unknown = null) {
  const stage = await store.stage()
  mkdirSync(join(stage.tree, 'bin'))
  writeFileSync(join(stage.tree, 'bin', 'run'), content, { mode: 0o755 })
  writeFileSync(join(stage.tree, 'file'), content)
  symlinkSync('bin/run', join(stage.tree, 'link'))
  return stage.seal(key, meta)
}

const list = (...path: string[]) => {
  try {
    return readdirSync(join(home, ...path))
  } catch {
    return []
  }
}
/** A socket stays behind whoever ends without closing it. */
const LISTENS = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
const modeOf = (path: string) => lstatSync(path).mode & 0o777

describe('a sealed tree', () => {
  // Red for an ordinary user only: nobody else is kept out by the seal of a folder.
  it('R13.3 has files of its own, however many names they had, in whatever order its folders are sealed', async () => {
    const store = make()
    const stage = await store.stage()
    const cached = join(home, 'cached')
    writeFileSync(cached, 'content', { mode: 0o755 })
    const names = Array.from({ length: 40 }, (_, n) => join(`package-${n}`, 'bin', 'run'))
    for (const name of names) {
      mkdirSync(join(stage.tree, name, '..'), { recursive: true })
      linkSync(cached, join(stage.tree, name))
    }
    const tree = await stage.seal('key', null)
    for (const name of names) {
      const { nlink, mode } = lstatSync(join(tree.path, name))
      expect([nlink, mode & 0o777, readFileSync(join(tree.path, name), 'utf8')]).toEqual([1, 0o555, 'content'])
    }
  })

  it('R13.3 cannot be made of a named pipe, which is told by its path, and not waited for', async () => {
    const store = make()
    const stage = await store.stage()
    mkdirSync(join(stage.tree, 'node_modules'))
    execFileSync('mkfifo', [join(stage.tree, 'node_modules', 'pipe')])
    const sealing = stage.seal('k1', null)
    await expect(sealing).rejects.toMatchObject({
      code: 'BuildFailed',
      message: 'node_modules/pipe is a named pipe (FIFO), which cannot be kept: only files, directories and links can',
    })
    await stage.discard()
    expect(await store.open('k1')).toBeNull()
  })

  it.each<[string, (tree: string, outside: string) => void]>([
    [
      'a link',
      (tree, outside) => {
        rmSync(tree, { recursive: true })
        symlinkSync(outside, tree)
      },
    ],
    [
      'another folder',
      (tree, outside) => {
        renameSync(tree, `${tree}-away`)
        renameSync(outside, tree)
      },
    ],
    ['nothing', (tree) => rmSync(tree, { recursive: true })],
  ])('R13.4 is not made where %s is in its place by then, and nothing elsewhere is touched', async (_, replace) => {
    const store = make()
    const stage = await store.stage()
    const outside = join(home, 'outside')
    mkdirSync(outside)
    writeFileSync(join(outside, 'secret'), 'x', { mode: 0o600 })
    const { ino } = lstatSync(outside)
    replace(stage.tree, outside)
    await expect(stage.seal('k1', null)).rejects.toMatchObject({ code: 'BuildFailed' })
    const place = existsSync(outside) ? outside : stage.tree
    expect([lstatSync(place).ino, modeOf(place), modeOf(join(place, 'secret'))]).toEqual([ino, 0o755, 0o600])
    await stage.discard()
    expect(await store.open('k1')).toBeNull()
  })

  it('R13.4 is made of what links and permissions a build leaves, and writes through none of them', async () => {
    const store = make()
    const stage = await store.stage()
    const outside = join(home, 'outside')
    writeFileSync(outside, 'of others', { mode: 0o600 })
    writeFileSync(join(stage.tree, 'file'), 'content')
    linkSync(join(stage.tree, 'file'), join(stage.tree, 'other'))
    symlinkSync(outside, join(stage.tree, 'file.own-copy'))
    chmodSync(stage.tree, 0o555)
    chmodSync(join(stage.tree, '..'), 0)
    const { path, files } = await stage.seal('k1', null)
    expect(files).toBe(3)
    expect([readFileSync(outside, 'utf8'), modeOf(outside)]).toEqual(['of others', 0o600])
    expect(lstatSync(join(path, 'file.own-copy')).isSymbolicLink()).toBe(true)
    expect(lstatSync(join(path, 'file')).nlink).toBe(1)
    expect(await store.open('k1')).not.toBeNull()
  })

  it('is read-only, and comes back with what was noted with it', async () => {
    const store = make()
    const sealed = await put(store, 'k1', 'x', { note: 1 })
    expect(sealed).toMatchObject({ files: 3, bytes: 2 })
    const found = await store.open('k1')
    expect(found?.meta).toEqual({ note: 1 })
    const path = found?.path as string
    expect([path, join(path, 'bin'), join(path, 'bin', 'run'), join(path, 'file')].map(modeOf)).toEqual([
      0o555, 0o555, 0o555, 0o444,
    ])
    expect(list('making')).toEqual([])
  })

  it('shares no file with anything else, even where an installer made hard links', async () => {
    const store = make()
    const elsewhere = join(home, 'cache-of-an-installer')
    writeFileSync(elsewhere, 'original')
    const stage = await store.stage()
    linkSync(elsewhere, join(stage.tree, 'file'))
    const { path } = await stage.seal('k1', null)
    writeFileSync(elsewhere, 'changed!')
    expect(readFileSync(join(path, 'file'), 'utf8')).toBe('original')
    expect(modeOf(elsewhere)).toBe(0o644)
    expect(await store.open('k1')).not.toBeNull()
  })

  it.each<[string, (tree: string) => void]>([
    ['a changed file', (tree) => writeFileSync(join(tree, 'file'), 'changed')],
    [
      'a file of the same size and time with another content',
      (tree) => {
        const { atime, mtime } = lstatSync(join(tree, 'file'))
        writeFileSync(join(tree, 'file'), 'CONTENT')
        utimesSync(join(tree, 'file'), atime, new Date(mtime.getTime() + 1))
      },
    ],
    ['a file too many', (tree) => writeFileSync(join(tree, 'bin', 'more'), '')],
    [
      'a folder that is nested deeper than a path can be long',
      (tree) => {
        const folder = 'd'.repeat(200)
        execFileSync('sh', ['-c', `for i in $(seq 30); do mkdir ${folder}; cd -P ${folder}; done`], { cwd: tree })
      },
    ],
    ['a file too few', (tree) => rmSync(join(tree, 'file'))],
    [
      'a link to elsewhere',
      (tree) => {
        rmSync(join(tree, 'link'))
        symlinkSync('bin/rum', join(tree, 'link'))
      },
    ],
    [
      'a manifest cut short',
      (tree) => {
        const manifest = join(tree, '..', 'manifest')
        writeFileSync(manifest, readFileSync(manifest).subarray(0, -20))
      },
    ],
    [
      'a manifest and a tree that are links to the like elsewhere',
      (tree) => {
        for (const path of [tree, join(tree, '..', 'manifest')]) {
          renameSync(path, join(home, basename(path)))
          symlinkSync(join(home, basename(path)), path)
        }
      },
    ],
    ['no manifest', (tree) => rmSync(join(tree, '..', 'manifest'))],
  ])('R4.3 with %s is not given out, and can be made again', async (_, damage) => {
    const store = make()
    const { path } = await put(store, 'k1')
    chmodSync(path, 0o755)
    chmodSync(join(path, 'bin'), 0o755)
    chmodSync(join(path, 'file'), 0o644)
    damage(path)
    // What damaged it may well have left the permissions as they were.
    for (const name of ['file', 'bin', '.'])
      if (existsSync(join(path, name))) chmodSync(join(path, name), name === 'file' ? 0o444 : 0o555)
    expect(await store.open('k1')).toBeNull()
    expect(list('kept')).toEqual([])
    expect(list('trash')).toEqual([])
    await put(store, 'k1')
    expect(await store.open('k1')).not.toBeNull()
  })

  it('whose times or permissions alone changed, as after a restored backup, is still good and sealed again', async () => {
    const store = make()
    const { path } = await put(store, 'k1')
    chmodSync(join(path, 'file'), 0o666)
    utimesSync(join(path, 'bin', 'run'), 1, 1)
    expect(await store.open('k1')).not.toBeNull()
    expect(modeOf(join(path, 'file'))).toBe(0o444)
  })

  it('R13.8 is sealed again at once, whatever lies beside its manifest', async () => {
    const store = make()
    const { path } = await put(store, 'k1')
    for (const name of ['manifest.new', 'new']) execFileSync('mkfifo', [join(path, '..', name)])
    utimesSync(join(path, 'bin', 'run'), 1, 1)
    expect(await store.open('k1')).not.toBeNull()
    expect(list('kept', 'k1').sort()).toEqual(['manifest', 'manifest.new', 'new', 'tree'])
  })

  it.each<[string, (path: string) => unknown]>([
    ['named pipe', (path) => execFileSync('mkfifo', [path])],
    [
      'named pipe that somebody holds open',
      (path) => {
        execFileSync('mkfifo', [path])
        held.push(openSync(path, 'r+'))
      },
    ],
    ['link to a device without an end', (path) => symlinkSync('/dev/zero', path)],
    ['socket', (path) => spawnSync(process.execPath, ['-e', LISTENS, path])],
  ])('R13.8 whose manifest is a %s counts as damaged, at once', async (_, putThere) => {
    const store = make()
    await put(store, 'k1')
    const manifest = join(home, 'kept', 'k1', 'manifest')
    rmSync(manifest)
    putThere(manifest)
    expect(await store.open('k1')).toBeNull()
    expect(list('kept')).toEqual([])
  })

  it('R14.4 beside which others have put files is collected and scrubbed as ever, and these are left alone', async () => {
    const store = make()
    for (const key of ['k1', 'k2']) await put(store, key)
    writeFileSync(join(home, 'kept', '.DS_Store'), 'x')
    mkdirSync(join(home, 'kept', 'lost+found'))
    expect(await store.scrub()).toEqual({ checked: 2, damaged: [], unchecked: [] })
    expect((await store.list()).map(({ key }) => key).sort()).toEqual(['k1', 'k2'])
    clock += 1_000
    const collected = await store.collect({ maxCount: 0, maxBytes: 0, maxAgeMs: 0 })
    expect({ ...collected, removed: collected.removed.sort() }).toEqual({ removed: ['k1', 'k2'], kept: 0, stuck: [] })
    expect(list('kept').sort()).toEqual(['.DS_Store', 'lost+found'])
  })

  it('R14.4 of which one cannot be judged does not keep the others from being collected', async () => {
    const store = createSealedStore({
      directory: home,
      now: () => clock,
      pins: {
        isPinned: async (key) => {
          if (key === 'k1') throw new Error('cannot say')
          return false
        },
      },
    })
    for (const key of ['k1', 'k2', 'k3']) {
      await put(store, key)
      utimesSync(join(home, 'kept', key, 'manifest'), clock / 1_000, clock / 1_000)
      clock += 1_000
    }
    expect(await store.collect({ maxCount: 0, maxBytes: 0, maxAgeMs: 0 })).toEqual({
      removed: ['k2', 'k3'],
      kept: 1,
      stuck: [{ key: 'k1', reason: 'cannot say' }],
    })
    expect(list('kept')).toEqual(['k1'])
  })

  it('R4.3 whose bytes rotted without a trace is found by a scrub', async () => {
    const store = make()
    const { path } = await put(store, 'k1')
    await put(store, 'k2')
    const file = join(path, 'file')
    const { atimeMs, mtimeMs, mode } = lstatSync(file)
    chmodSync(file, 0o644)
    writeFileSync(file, 'rotten!')
    utimesSync(file, atimeMs / 1000, mtimeMs / 1000)
    chmodSync(file, mode)
    const scrubbed = await store.scrub()
    expect(scrubbed).toEqual({ checked: 2, damaged: ['k1'], unchecked: [] })
    expect(await store.open('k1')).toBeNull()
    expect(await store.open('k2')).not.toBeNull()
  })
})

describe('of which one cannot be read', () => {
  /** As for an ordinary user whose files somebody has locked away; root reads all the same. */
  const lock = (key: string) => {
    const manifest = join(home, 'kept', key, 'manifest')
    vi.mocked(open).mockImplementation((path, ...rest) =>
      path === manifest ? Promise.reject(new Error(`EACCES: ${key}`)) : real.open(path, ...rest),
    )
  }
  const NOTHING = { maxCount: 0, maxBytes: 0, maxAgeMs: 0 }

  it('R14.4 the others are listed and collected, and that one is told with the reason and stays', async () => {
    const store = make()
    for (const key of ['k1', 'k2', 'k3']) await put(store, key)
    lock('k2')
    clock += 1_000
    const listed = (await store.list()).map(({ key, unread }) => [key, unread])
    expect(Object.fromEntries(listed)).toEqual({ k1: null, k2: 'EACCES: k2', k3: null })
    const collected = await store.collect(NOTHING)
    expect({ ...collected, removed: collected.removed.sort() }).toEqual({
      removed: ['k1', 'k3'],
      kept: 1,
      stuck: [{ key: 'k2', reason: 'EACCES: k2' }],
    })
    expect(list('kept')).toEqual(['k2'])
  })

  it('R4.3 keeps the layers, as nobody knows on which of them it stands', async () => {
    const store = make()
    const standsOn = (meta: unknown) => (meta as { on?: string[] } | null)?.on ?? null
    await put(store, 'layer', 'x')
    for (const key of ['k1', 'k2']) await put(store, key, 'x', { on: ['layer'] })
    lock('k1')
    clock += 1_000
    expect(await store.collect(NOTHING, standsOn)).toMatchObject({ removed: ['k2'], kept: 2 })
    vi.mocked(open).mockImplementation(real.open)
    const last = await store.collect(NOTHING, standsOn)
    expect({ ...last, removed: last.removed.sort() }).toEqual({ removed: ['k1', 'layer'], kept: 0, stuck: [] })
  })
})

describe('R4.3 a scrub', () => {
  const rot = (path: string) => {
    chmodSync(join(path, 'file'), 0o644)
    writeFileSync(join(path, 'file'), 'rotten!')
  }

  it('names what is damaged also where another one cannot be checked, and tells why that was not', async () => {
    const store = make()
    const [, second] = [await put(store, 'k1'), await put(store, 'k2'), await put(store, 'k3')]
    rot(second.path)
    const unreadable = join(home, 'kept', 'k1')
    vi.mocked(stat).mockImplementation((path, ...rest) =>
      path === unreadable ? Promise.reject(new Error('EMFILE: too many open files')) : real.stat(path, ...rest),
    )
    expect(await store.scrub()).toEqual({
      checked: 2,
      damaged: ['k2'],
      unchecked: [{ key: 'k1', reason: 'EMFILE: too many open files' }],
    })
  })

  it('names what is damaged and cannot be taken out, with the reason', async () => {
    const store = make()
    rot((await put(store, 'k1')).path)
    await put(store, 'k2')
    writeFileSync(join(home, 'trash'), '')
    const reason = expect.stringContaining('EEXIST')
    expect(await store.scrub()).toEqual({ checked: 1, damaged: [], unchecked: [{ key: 'k1', reason }] })
  })
})

describe('two that make the same', () => {
  it('both get the one that was there first', async () => {
    const store = make()
    const [first, second] = await Promise.all([put(store, 'k1'), put(store, 'k1')])
    expect(first.path).toBe(second.path)
    expect(list('making')).toEqual([])
    expect(list('trash')).toEqual([])
    expect(await store.open('k1')).not.toBeNull()
  })

  it('do not believe a winner that is damaged', async () => {
    const store = make()
    const { path } = await put(store, 'k1', 'good')
    chmodSync(join(path, 'file'), 0o644)
    appendFileSync(join(path, 'file'), 'bad')
    await put(store, 'k1', 'good')
    expect(readFileSync(join(store.treeOf('k1'), 'file'), 'utf8')).toBe('good')
  })
})

describe('what is half built', () => {
  it.skipIf(process.platform !== 'linux')(
    'is gone after a discard, and is swept away only when its owner is gone',
    async () => {
      const store = make()
      const mine = await store.stage()
      writeFileSync(join(mine.tree, 'half'), '')
      const other = spawn('sleep', ['60'])
      const gone = spawn('true')
      await once(gone, 'exit')
      const started = readFileSync(`/proc/${other.pid}/stat`, 'utf8').split(' ')[21]
      mkdirSync(join(home, 'making', `${other.pid}.${started}-living`))
      mkdirSync(join(home, 'making', `${other.pid}.12345-had-the-same-pid`))
      mkdirSync(join(home, 'making', `${gone.pid}.12345-dead`))
      mkdirSync(join(home, 'making', 'nobody'))

      await store.sweep()
      expect(list('making').filter((name) => !name.startsWith(`${process.pid}.`))).toEqual([
        `${other.pid}.${started}-living`,
      ])
      expect(list('making')).toHaveLength(2)
      await mine.discard()
      expect(list('making')).toHaveLength(1)
      await ended(other)
    },
  )
})

describe('the collector', () => {
  const keep = { maxCount: 100, maxBytes: 1e9, maxAgeMs: 1e9 }

  it('R13.8 takes what was used while the clock was ahead before what a right clock dates', async () => {
    const store = make()
    for (const [key, at] of [
      ['ahead', clock + 9e7],
      ['old', clock - 5_000],
      ['new', clock],
    ] as const) {
      await put(store, key)
      utimesSync(join(home, 'kept', key, 'manifest'), at / 1_000, at / 1_000)
    }
    expect((await store.collect({ ...keep, maxCount: 2 })).removed).toEqual(['ahead'])
    expect((await store.collect({ ...keep, maxCount: 1 })).removed).toEqual(['old'])
  })

  it('takes the least recently used first, until count and bytes are within their limits', async () => {
    const store = make()
    for (const key of ['a', 'b', 'c', 'd']) {
      clock += 1000
      await put(store, key, 'x'.repeat(50))
      await store.open(key)
    }
    clock += 1000
    await store.open('a')
    expect(await store.collect({ ...keep, maxCount: 3 })).toEqual({ removed: ['b'], kept: 3, stuck: [] })
    expect(await store.collect({ ...keep, maxBytes: 250 })).toEqual({ removed: ['c'], kept: 2, stuck: [] })
    expect(list('kept').sort()).toEqual(['a', 'd'])
    expect(list('trash')).toEqual([])
  })

  it('R4.3 takes what is too old, but never what is pinned or what a kept one stands on', async () => {
    const store = make()
    for (const key of ['layer', 'other-layer', 'pinned']) {
      await put(store, key)
      await store.open(key)
    }
    await put(store, 'artifact', 'x', { on: ['layer'] })
    await store.open('artifact')
    pinned.add('artifact').add('pinned')
    clock += 10_000
    const standsOn = (meta: unknown) => (meta as { on?: string[] } | null)?.on ?? []
    expect(await store.collect({ ...keep, maxAgeMs: 5000 }, standsOn)).toEqual({
      removed: ['other-layer'],
      kept: 3,
      stuck: [],
    })
    pinned.delete('artifact')
    expect((await store.collect({ ...keep, maxAgeMs: 5000 }, standsOn)).removed.sort()).toEqual(['artifact', 'layer'])
    expect(list('kept')).toEqual(['pinned'])
  })

  it('R13.8 tries again what it could not remove, also what was half built, while its process lives, and leaves alone what it is at', async () => {
    const store = make()
    const other = make()
    await put(store, 'k1')
    const failed = await store.stage()
    const [mine, theirs] = [await store.stage(), await other.stage()]
    removing.isHeld = true
    expect((await store.collect({ ...keep, maxCount: 0 })).removed).toEqual(['k1'])
    await failed.discard()
    expect(list('trash')).toHaveLength(2)
    await store.sweep()
    expect(list('trash')).toHaveLength(2)
    removing.isHeld = false
    await other.sweep()
    expect(list('trash')).toHaveLength(2)
    await store.sweep()
    expect(list('trash')).toEqual([])
    for (const { tree } of [mine, theirs]) expect(existsSync(tree)).toBe(true)
    for (const stage of [mine, theirs]) await stage.discard()
  })

  it('R4.3 puts back what it took out when nobody can say any more whether it is needed', async () => {
    let asked = 0
    const store = createSealedStore({
      directory: home,
      now: () => clock,
      pins: {
        isPinned: async () => {
          if (++asked === 2) throw new Error('cannot say')
          return false
        },
      },
    })
    await put(store, 'k1')
    const stuck = [{ key: 'k1', reason: 'cannot say' }]
    expect(await store.collect({ ...keep, maxCount: 0 })).toEqual({ removed: [], kept: 1, stuck })
    expect(await store.open('k1')).not.toBeNull()
    expect(list('trash')).toEqual([])
  })

  it('gives back what was pinned while it was being taken', async () => {
    let asked = 0
    const store = createSealedStore({
      directory: home,
      now: () => clock,
      // Not pinned when first asked, pinned when asked again after the rename.
      pins: { isPinned: async () => ++asked > 1 },
    })
    await put(store, 'k1')
    expect(await store.collect({ ...keep, maxCount: 0 })).toEqual({ removed: [], kept: 1, stuck: [] })
    expect(asked).toBe(2)
    expect(await store.open('k1')).not.toBeNull()
    expect(list('trash')).toEqual([])
  })
})

async function ended(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  await once(child, 'exit')
}
