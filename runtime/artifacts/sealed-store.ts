import { randomUUID } from 'node:crypto'
import type { Stats } from 'node:fs'
import { chmod, lstat, mkdir, readdir, rename, stat, utimes } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { CoppiceError } from '../../domain/errors.ts'
import type { Collected, Scrubbed } from '../../domain/kept-things.ts'
import { newestFirst } from '../../domain/spans.ts'
import type { Pins } from '../contracts.ts'
import {
  checkTree,
  describeTree,
  digestOf,
  type Manifest,
  type ManifestEntry,
  nullIfDamaged,
  readManifest,
  verifyTree,
  writeManifest,
} from './manifest.ts'
import { ownerIsGone, ownerTag } from './owners.ts'
import { removeTree, setAside } from './trees.ts'

/**
 * Sealed trees by key (D6). Several processes may use one directory at the same time; nothing is locked, because every
 * change is a rename:
 *
 *   kept/<key>/tree, manifest    sealed; complete whenever it is there
 *   making/<owner>-<random>/     half built: tree, scratch
 *   trash/<owner>-<random>/      taken out, being deleted
 *
 * Half built and taken out is what its owner is at, and nobody else's while that lives. What the owner could not remove he
 * tries again at each sweep; when he is gone anybody does.
 */
export type SealedStoreOptions = {
  /** Absolute path; made when first needed. */
  directory: string
  pins: Pick<Pins, 'isPinned'>
  /** Unix ms. */
  now: () => number
}

export type Sealed = { key: string; path: string; meta: unknown }
export type OpenSealed = Sealed & { entries: readonly ManifestEntry[] }

/** A tree that is being made. Exactly one of `seal` and `discard` ends it; `discard` after either does nothing. */
export type Stage = {
  /** Where the tree is built; it is there and empty. */
  tree: string
  /** A directory beside it for what must not become part of it. */
  scratch: string
  /**
   * Throws BuildFailed unless both are the folders that were made. What runs in a stage can move them away and put
   * others, or links, there; so this comes before anything else is done in it by those names.
   */
  check(): Promise<void>
  /**
   * Makes it read-only and puts it in place, under a key or one made from its digest. `known` are digests of files
   * that need not be read again. Who comes second gets what the first one put there.
   */
  seal(
    key: string | ((digest: string) => string),
    meta: unknown,
    known?: ReadonlyMap<string, string>,
  ): Promise<Sealed & SealReport>
  discard(): Promise<void>
}
export type SealReport = { digest: string; files: number; bytes: number }

/** Limits on everything kept, layers and artifacts alike; `maxAgeMs` counts from the last use. */
export type CollectOptions = { maxCount: number; maxBytes: number; maxAgeMs: number }

type Listed = { key: string; bytes: number; usedAt: number; meta: unknown; unread: string | null }

export type SealedStore = ReturnType<typeof createSealedStore>

export function createSealedStore({ directory, pins, now }: SealedStoreOptions) {
  const kept = join(directory, 'kept')
  const making = join(directory, 'making')
  const trash = join(directory, 'trash')
  const entryOf = (key: string) => join(kept, checkedKey(key))
  const treeOf = (key: string) => join(entryOf(key), 'tree')
  /** Another store of this process may use the same directory. */
  const own = `${ownerTag()}-${randomUUID().slice(0, 8)}`
  /** Names in `making` and `trash` that this store is at. */
  const busy = new Set<string>()
  const newName = (): string => {
    const name = `${own}-${randomUUID()}`
    busy.add(name)
    return name
  }

  /** Checks under way: the instances of an app start together and share one walk. */
  const checks = new Map<string, Promise<OpenSealed | null>>()

  /** The tree if it has passed the check, else null; one that has not is taken out, so that it can be made again. */
  function open(key: string): Promise<OpenSealed | null> {
    const running = checks.get(key) ?? check(key).finally(() => checks.delete(key))
    checks.set(key, running)
    return running
  }

  async function check(key: string): Promise<OpenSealed | null> {
    const manifest = await sound(key, 'cheaply')
    if (manifest === null) return null
    const time = new Date(now())
    // Its last use, for the collector. Whoever may read but not write the store can use it all the same.
    await utimes(join(entryOf(key), 'manifest'), time, time).catch(() => undefined)
    return { key, path: treeOf(key), meta: manifest.meta, entries: manifest.entries }
  }

  async function sound(key: string, how: 'cheaply' | 'fully'): Promise<Manifest | null> {
    const entry = entryOf(key)
    const checked = await stat(entry).catch(nullIfDamaged)
    if (checked === null) return null
    const manifest = await readManifest(join(entry, 'manifest'))
    if (manifest?.key === key && (await isSound(entry, manifest, how))) return manifest
    // Another process may have seen the same, and may have put a good one there meanwhile.
    await takeOut(key, async (taken) => (await stat(taken)).ino === checked.ino)
    return null
  }

  async function isSound(entry: string, manifest: Manifest, how: 'cheaply' | 'fully'): Promise<boolean> {
    const tree = join(entry, 'tree')
    const verdict = await checkTree(tree, manifest.entries).catch(nullIfDamaged)
    if (verdict === null || verdict === 'damaged') return false
    if (verdict === 'intact' && how === 'cheaply') return true
    if ((await verifyTree(tree, manifest.entries)).length > 0) return false
    // The content is right, only times or permissions are not (a restored backup): write down what is there now, so
    // that the next check is cheap again.
    if (verdict === 'touched') {
      const known = new Map(manifest.entries.map((line) => [line[0], line[5]]))
      await writeManifest(join(entry, 'manifest'), { ...manifest, entries: await describeTree(tree, known) })
    }
    return true
  }

  async function stage(): Promise<Stage> {
    const home = join(making, newName())
    const tree = join(home, 'tree')
    const scratch = join(home, 'scratch')
    const made = new Map<string, Stats>()
    try {
      for (const place of [home, tree, scratch]) {
        await mkdir(place, { recursive: true })
        made.set(place, await lstat(place))
      }
    } catch (error) {
      await discard(home)
      throw error
    }
    const check = async () => {
      for (const [place, { dev, ino }] of made) {
        const found = await lstat(place).catch(nullIfDamaged)
        if (!found?.isDirectory() || found.dev !== dev || found.ino !== ino) throw replaced()
        // Who is not root can neither look into a folder nor move it once a build has taken that right away.
        await chmod(place, 0o700)
      }
    }
    return {
      tree,
      scratch,
      check,
      async seal(name, meta, known) {
        await check()
        // Only now, and under a name that nobody knew: all that goes into it is ours.
        const entry = join(home, randomUUID())
        await mkdir(entry)
        await rename(tree, join(entry, 'tree'))
        const entries = await describeTree(join(entry, 'tree'), known)
        const digest = digestOf(entries)
        const key = typeof name === 'string' ? name : name(digest)
        const report = { digest, files: entries.filter((line) => line[1] !== 'd').length, bytes: sizeOf(entries) }
        const manifest: Manifest = { format: 1, key, createdAt: now(), bytes: report.bytes, meta, entries }
        await writeManifest(join(entry, 'manifest'), manifest)
        const sealed = await putInPlace(entry, key, meta)
        await discard(home)
        return { ...sealed, ...report }
      },
      discard: () => discard(home),
    }
  }

  /** Who comes second uses what the first one put there, if it is sound (D6). */
  async function putInPlace(entry: string, key: string, meta: unknown): Promise<Sealed> {
    await mkdir(kept, { recursive: true })
    for (;;) {
      try {
        await rename(entry, entryOf(key))
        return { key, path: treeOf(key), meta }
      } catch (error) {
        if (!isTaken(error)) throw error
      }
      const winner = await open(key)
      if (winner !== null) return winner
    }
  }

  /**
   * Out of everyone's sight in one step, then deleted, unless it turns out that it is wanted after all. False when it
   * was not there, or is back.
   */
  async function takeOut(key: string, stillUnwanted: (taken: string) => Promise<boolean>): Promise<boolean> {
    await mkdir(trash, { recursive: true })
    const name = newName()
    try {
      return await bury(key, join(trash, name), stillUnwanted)
    } finally {
      busy.delete(name)
    }
  }

  async function bury(
    key: string,
    grave: string,
    stillUnwanted: (taken: string) => Promise<boolean>,
  ): Promise<boolean> {
    try {
      await rename(entryOf(key), grave)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
      throw error
    }
    const unwanted = await stillUnwanted(grave).catch(async (error) => {
      // Nobody can say, so it is not for the sweep.
      await rename(grave, entryOf(key)).catch(() => undefined)
      throw error
    })
    if (!unwanted) {
      const back = await rename(grave, entryOf(key)).then(
        () => true,
        (error) => isTaken(error),
      )
      if (back) return false
    }
    await removeTree(grave).catch(() => undefined)
    return true
  }

  /**
   * Takes out what nothing needs: least recently used first, until count, bytes and age are within their limits. What
   * is pinned stays, and so does what another kept one stands on (`standsOn`; null of what others stand on). Pins are
   * asked again after the rename: an operation that pinned in between gets it back. What cannot be read or taken out is
   * named, whatever becomes of the others; one that cannot be read may stand on any of which others do.
   */
  async function collect(
    options: CollectOptions,
    standsOn: (meta: unknown) => string[] | null = () => [],
  ): Promise<Collected> {
    await sweep()
    const byTime = newestFirst(now())
    const all = (await list()).sort((a, b) => byTime(b.usedAt, a.usedAt))
    const remaining = new Map(all.map((entry) => [entry.key, entry]))
    let bytes = all.reduce((sum, entry) => sum + entry.bytes, 0)
    const removed: string[] = []
    const unread = all.flatMap((entry) => (entry.unread === null ? [] : [[entry.key, entry.unread] as const]))
    const stuck = new Map<string, string>(unread)
    const goes = async ({ key, bytes: size, usedAt, meta }: (typeof all)[number]) => {
      const tooMany = remaining.size > options.maxCount || bytes > options.maxBytes
      if (!remaining.has(key) || stuck.has(key) || !(tooMany || now() - usedAt > options.maxAgeMs)) return
      const needed = [...remaining.values()].some((other) => standsOn(other.meta)?.includes(key))
      if (needed || (unread.length > 0 && standsOn(meta) === null) || (await pins.isPinned(key))) return
      if (!(await takeOut(key, async () => !(await pins.isPinned(key))))) return
      remaining.delete(key)
      bytes -= size
      removed.push(key)
    }
    // An artifact goes before the layers it stands on; these get their chance in the next round.
    for (let before = -1; before < removed.length; ) {
      before = removed.length
      for (const entry of all) await goes(entry).catch((error: Error) => stuck.set(entry.key, error.message))
    }
    return { removed, kept: remaining.size, stuck: [...stuck].map(([key, reason]) => ({ key, reason })) }
  }

  /** `unread`: why nothing but its key is known of it; null as a rule. */
  async function list(): Promise<Listed[]> {
    const entries: Listed[] = []
    for (const key of await keysKept()) {
      const file = join(kept, key, 'manifest')
      const reading = readManifest(file).then(
        (manifest) => ({ bytes: manifest?.bytes ?? 0, meta: manifest?.meta, unread: null }),
        (error: Error) => ({ bytes: 0, meta: undefined, unread: error.message }),
      )
      const [read, stats] = await Promise.all([reading, stat(file).catch(() => null)])
      entries.push({ key, ...read, usedAt: stats?.mtimeMs ?? 0 })
    }
    return entries
  }

  /** Without what others have put there: file managers and backup programs leave their files everywhere. */
  const keysKept = async () => (await namesIn(kept)).filter(isKey)

  /** Reads every byte of everything kept; what is damaged is taken out and named, whatever becomes of the others. */
  async function scrub(): Promise<Scrubbed> {
    const scrubbed: Scrubbed = { checked: 0, damaged: [], unchecked: [] }
    for (const key of await keysKept()) {
      try {
        if ((await sound(key, 'fully')) === null) scrubbed.damaged.push(key)
        scrubbed.checked += 1
      } catch (error) {
        scrubbed.unchecked.push({ key, reason: (error as Error).message })
      }
    }
    return scrubbed
  }

  /** What cannot be removed must not hold up what is made; it stays in the trash, for the sweep and the doctor. */
  async function discard(stage: string): Promise<void> {
    await removeTree(stage).catch(() => setAside(stage, trash))
    busy.delete(basename(stage))
  }

  /** Removes what nobody is at any more, as far as it can be removed. */
  async function sweep(): Promise<void> {
    const isLeft = (name: string) => ownerIsGone(name) || (name.startsWith(`${own}-`) && !busy.has(name))
    for (const place of [making, trash]) {
      for (const name of await namesIn(place))
        if (isLeft(name)) await removeTree(join(place, name)).catch(() => undefined)
    }
  }

  return { open, stage, collect, list, scrub, sweep, treeOf }
}

function replaced(): CoppiceError {
  const message =
    'The build has moved its folder away, or put something else in the place of the folder, so that nothing of it can be kept: it may change what is in the folder, and not move the folder itself'
  return new CoppiceError('BuildFailed', message, { step: 'keep what was built' })
}

function sizeOf(entries: readonly ManifestEntry[]): number {
  return entries.reduce((sum, [, kind, , size]) => (kind === 'f' ? sum + size : sum), 0)
}

async function namesIn(path: string): Promise<string[]> {
  return readdir(path).catch(() => [])
}

/** Keys become names of directories; they are ours, but they also come back from outside as digests. */
const isKey = (name: string): boolean => /^[a-z0-9][a-z0-9-]{0,127}$/.test(name)

function checkedKey(key: string): string {
  if (!isKey(key)) throw new Error(`${JSON.stringify(key)} is not a key`)
  return key
}

function isTaken(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'ENOTEMPTY' || code === 'EEXIST'
}
