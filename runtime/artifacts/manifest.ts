import { createHash, randomUUID } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { chmod, copyFile, lstat, open, readFile, readlink, rename, rm, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { CoppiceError } from '../../domain/errors.ts'
import { compare } from '../../domain/source-rules.ts'
import { inParallel, walkTree } from './trees.ts'

/**
 * What a sealed tree contains, written down beside it. A tree without a manifest that fits is no tree: this is how a
 * half-written or damaged one is noticed (R4.3).
 */
export type Manifest = {
  format: 1
  key: string
  /** Unix ms. */
  createdAt: number
  /** Sum of the files, in bytes. */
  bytes: number
  /** What whoever sealed it wants to know again. */
  meta: unknown
  /** Sorted by path. */
  entries: ManifestEntry[]
}

/** Path, kind, permissions, size in bytes, mtime in ms, and the SHA-256 of the content or the target of the link. */
export type ManifestEntry = [path: string, kind: Kind, mode: number, size: number, mtimeMs: number, content: string]
type Kind = 'f' | 'd' | 'l'

/** Up to here a file is read in one go: a stream costs more than most files of a layer. Hashing it takes under 1 ms. */
const READ_WHOLE_BYTES = 256 * 1024

/** Builds and apps run as our user: a named pipe in the place of a file would be waited for for ever. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK

/**
 * Makes a tree read-only and describes it. Sealed files cannot be written and sealed directories not be added to;
 * root can do both, which is what `checkTree` is for. Digests that are known already need not be computed again.
 */
export async function describeTree(
  root: string,
  known: ReadonlyMap<string, string> = new Map(),
): Promise<ManifestEntry[]> {
  const { entries, shared } = await listTree(root)
  // Before any folder is sealed, which then takes no copy from anybody but root.
  await inParallel(
    entries.filter(([path]) => shared.has(path)).map((entry) => () => ownCopy(join(root, entry[0]), entry)),
    8,
  )
  await inParallel(
    entries.map((entry) => async () => {
      const [path, kind] = entry
      entry[5] = known.get(path) ?? (await contentOf(join(root, path), kind, entry[3]))
      if (kind === 'l') return
      entry[2] = kind === 'd' || entry[2] & 0o100 ? 0o555 : 0o444
      await chmod(join(root, path), entry[2])
    }),
    8,
  )
  await chmod(root, 0o555)
  return entries
}

/**
 * Compares a tree with its manifest. `touched`: only times or permissions differ, so the content has to tell.
 * Cheap: one stat for each entry, no content is read.
 */
export async function checkTree(
  root: string,
  entries: readonly ManifestEntry[],
): Promise<'intact' | 'touched' | 'damaged'> {
  const expected = new Map(entries.map((entry) => [entry[0], entry]))
  let verdict: 'intact' | 'touched' | 'damaged' = 'intact'
  let seen = 0
  await walkTree(root, (path, stats) => {
    seen += 1
    const [, kind, mode, size, mtimeMs] = expected.get(path) ?? []
    if (kind !== kindOf(stats) || (kind !== 'd' && size !== stats.size)) verdict = 'damaged'
    else if (verdict === 'intact' && kind !== 'd' && mtimeMs !== stats.mtimeMs) verdict = 'touched'
    else if (verdict === 'intact' && kind !== 'l' && mode !== (stats.mode & 0o777)) verdict = 'touched'
  })
  return seen === entries.length ? verdict : 'damaged'
}

/** Reads everything again: the paths whose content is not what was sealed. */
export async function verifyTree(root: string, entries: readonly ManifestEntry[]): Promise<string[]> {
  const wrong: string[] = []
  await inParallel(
    entries.map(([path, kind, , size, , content]) => async () => {
      const found = await contentOf(join(root, path), kind, size).catch(nullIfDamaged)
      if (found !== content) wrong.push(path)
    }),
    4,
  )
  return wrong.sort(compare)
}

/** One digest for a whole tree: paths, executable bits, contents, targets of links; not times, names of the root, directories. */
export function digestOf(entries: readonly ManifestEntry[]): string {
  const hash = createHash('sha256')
  for (const [path, kind, mode, , , content] of entries) {
    if (kind !== 'd') hash.update(`${JSON.stringify([path, kind, kind === 'f' && (mode & 0o100) !== 0, content])}\n`)
  }
  return hash.digest('hex')
}

/** The digest of a file or folder that is not to be touched. */
export async function digestInPlace(path: string): Promise<string> {
  const stats = await lstat(path)
  if (!stats.isDirectory()) return contentOf(path, 'f', stats.size)
  const { entries } = await listTree(path)
  await inParallel(
    entries.map((entry) => async () => {
      entry[5] = await contentOf(join(path, entry[0]), entry[1], entry[3])
    }),
    8,
  )
  return digestOf(entries)
}

/**
 * Written beside and renamed, with its own digest in the first line: half a manifest is none. Beside under a name that
 * nobody can have taken: what runs as our user could have put a named pipe there, which holds a thread of the pool for ever.
 */
export async function writeManifest(file: string, manifest: Manifest): Promise<void> {
  const body = JSON.stringify(manifest)
  const temporary = `${file}.${randomUUID()}`
  const handle = await open(temporary, 'wx')
  try {
    try {
      await handle.writeFile(`${sha256(body)}\n${body}`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, file)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** Null when there is none that can be believed. */
export async function readManifest(file: string): Promise<Manifest | null> {
  const text = (await readOwn(file).catch(nullIfDamaged)) ?? ''
  const body = text.slice(65)
  if (text[64] !== '\n' || sha256(body) !== text.slice(0, 64)) return null
  const manifest = JSON.parse(body) as Manifest
  return manifest.format === 1 ? manifest : null
}

/** No more than there is in a regular file: a pipe or a device may go on for ever. */
async function readOwn(path: string): Promise<string | null> {
  const file = await open(path, READ_FLAGS | constants.O_NOFOLLOW)
  try {
    return (await file.stat()).isFile() ? await file.readFile('utf8') : null
  } finally {
    await file.close()
  }
}

/** Errors that say something of what is read; others (too many open files) say something of the one who reads. */
const SAYS_DAMAGED = new Set([
  'ENOENT',
  'ENOTDIR',
  'EISDIR',
  'EINVAL',
  'ELOOP',
  'EIO',
  'EUCLEAN',
  'ENAMETOOLONG',
  'ENXIO',
])

export function nullIfDamaged(error: unknown): null {
  if (SAYS_DAMAGED.has((error as NodeJS.ErrnoException).code ?? '')) return null
  throw error
}

export function sha256(text: string | Uint8Array): string {
  return createHash('sha256').update(text).digest('hex')
}

/** As `walkTree`, for what a build has just made: that may be too deep to be kept, which is the build's failure. */
export async function walkNew(root: string, visit: (path: string, stats: Stats) => void): Promise<void> {
  let deepest = ''
  const walked = walkTree(root, (path, stats) => {
    deepest = path
    visit(path, stats)
  })
  await walked.catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENAMETOOLONG') throw error
    throw unkeepable(`${deepest.slice(0, 60)}…`, 'is nested deeper than a path can be long')
  })
}

async function listTree(root: string): Promise<{ entries: ManifestEntry[]; shared: ReadonlySet<string> }> {
  const entries: ManifestEntry[] = []
  const shared = new Set<string>()
  await walkNew(root, (path, stats) => {
    const kind = kindOf(stats)
    if (kind === null) throw unkeepable(path, `is a ${wordOf(stats)}`)
    entries.push([path, kind, stats.mode & 0o777, kind === 'd' ? 0 : stats.size, kind === 'd' ? 0 : stats.mtimeMs, ''])
    if (kind === 'f' && stats.nlink > 1) shared.add(path)
  })
  return { entries: entries.sort((a, b) => compare(a[0], b[0])), shared }
}

/**
 * Installers like to hard-link from their cache (uv does so silently where it cannot clone): then a write through one
 * name changes every layer with that file.
 */
async function ownCopy(path: string, entry: ManifestEntry): Promise<void> {
  // A name that nothing has: what is built may hold a link there, which would be written through.
  const copy = join(dirname(path), `.${randomUUID()}`)
  await copyFile(path, copy, constants.COPYFILE_EXCL)
  await utimes(copy, entry[4] / 1000, entry[4] / 1000)
  await rename(copy, path)
  entry[4] = (await lstat(path)).mtimeMs
}

function unkeepable(path: string, why: string): CoppiceError {
  const message = `${path} ${why}, which cannot be kept: only files, directories and links can`
  return new CoppiceError('BuildFailed', message, { field: path, step: 'keep what was built' })
}

function wordOf(stats: Stats): string {
  if (stats.isFIFO()) return 'named pipe (FIFO)'
  if (stats.isSocket()) return 'socket'
  return 'device'
}

function kindOf(stats: Stats): Kind | null {
  return stats.isFile() ? 'f' : stats.isDirectory() ? 'd' : stats.isSymbolicLink() ? 'l' : null
}

async function contentOf(path: string, kind: Kind, size: number): Promise<string> {
  if (kind === 'd') return ''
  if (kind === 'l') return readlink(path)
  if (size <= READ_WHOLE_BYTES) return sha256(await readFile(path, { flag: READ_FLAGS }))
  const hash = createHash('sha256')
  const file = await open(path, READ_FLAGS)
  for await (const chunk of file.createReadStream({ highWaterMark: READ_WHOLE_BYTES })) hash.update(chunk)
  return hash.digest('hex')
}
