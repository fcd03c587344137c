import { CoppiceError } from './errors.ts'
import { type IgnoreFile, readIgnoreFile } from './ignore-file.ts'
import { byteLength } from './process-size.ts'

/**
 * Which files of a folder are the source of an app, and which make it refused (R3.8, R13.3). Shared by the CLI, which
 * packs a folder, and the runtime, which takes snapshots and uploads: both must come to the same answer, because the
 * source is addressed by the digest of what was taken. Pure: whoever calls brings the file system along.
 *
 * Directories are not part of a source, so an empty one is not kept; git does the same.
 */

export type SourceLimits = {
  /** Largest file, in bytes. The product refuses files over 10 MiB. */
  maxFileBytes: number
  /** Most files and links. Raise it for apps with very many static files. */
  maxFiles: number
  /** Largest sum of all files, in bytes; also what an upload may unpack to. */
  maxTotalBytes: number
}

export const SOURCE_LIMITS: SourceLimits = {
  maxFileBytes: 10_485_760,
  maxFiles: 20_000,
  maxTotalBytes: 1024 * 1024 * 1024,
}

/**
 * Never part of a source, whatever .gitignore says: history, and what a build makes anew for the machine it runs on.
 */
const NEVER_TAKEN: ReadonlySet<string> = new Set([
  '.git',
  '.hg',
  '.svn',
  'node_modules',
  '.venv',
  '__pycache__',
  '.coppice',
  '.databricks',
  '.DS_Store',
])

/** Linux refuses longer paths (PATH_MAX less room for where the source is put). */
const MAX_PATH_BYTES = 2048
/** Every name of the source is compared with all of its rules. */
const MAX_IGNORE_FILE_CHARS = 64 * 1024
/** What is not taken is only looked at, of which there may be very much. */
const IGNORED_IN_A_TURN = 20
/** As many links as Linux follows in one path. */
const MAX_LINKS_FOLLOWED = 40
/**
 * Following all links of a source takes as many steps as their paths have parts, and each looks up the path so far: this
 * is the sum of these lengths, and something for each step; about a second. Twenty thousand links of usual length take a
 * tenth of it.
 */
const MAX_EFFORT_FOR_LINKS = 256 * 1024 * 1024
const STEP_EFFORT = 16

export type SourceFile = { kind: 'file'; path: string; bytes: number; executable: boolean }
export type SourceLink = { kind: 'link'; path: string; target: string }
export type SourceEntry = SourceFile | SourceLink

/** Reads one folder. Paths are relative to it, with `/`; the root is the empty text. */
export type FolderReader = {
  list(directory: string): Promise<Array<{ name: string; kind: 'file' | 'directory' | 'link' | 'other' }>>
  stat(path: string): Promise<{ bytes: number; executable: boolean }>
  readLink(path: string): Promise<string>
  readText(path: string): Promise<string>
  /** Lets everything else have its turn. */
  pause(): Promise<void>
}

/**
 * Chooses what of a folder is taken, sorted by path. `.gitignore` files count in every directory, as git reads them:
 * the deepest that says something decides, and what lies in an ignored directory cannot be re-included.
 * Throws SourceRefused, which names the file.
 */
export async function selectSource(reader: FolderReader, limits: SourceLimits): Promise<SourceEntry[]> {
  const entries: SourceEntry[] = []
  const meter = sourceMeter(limits)
  let ignored = 0

  const visit = async (directory: string, outer: readonly PlacedIgnoreFile[]): Promise<void> => {
    const children = await reader.list(directory)
    const hasRules = children.some((child) => child.name === '.gitignore' && child.kind === 'file')
    const rules = hasRules ? [...outer, { base: directory, file: await ignoreFileIn(reader, directory) }] : outer
    for (const { name, kind } of children.sort((a, b) => compare(a.name, b.name))) {
      const path = join(directory, name)
      if (NEVER_TAKEN.has(name)) continue
      if (isIgnored(path, kind === 'directory', rules)) {
        ignored += 1
        if (ignored % IGNORED_IN_A_TURN === 0) await reader.pause()
        continue
      }
      checkSourcePath(path)
      if (kind === 'directory') await visit(path, rules)
      else entries.push(meter(await entryOf(reader, path, kind)))
    }
  }
  await visit('', [])
  checkLinks(entries)
  return entries.sort((a, b) => compare(a.path, b.path))
}

async function ignoreFileIn(reader: FolderReader, directory: string): Promise<IgnoreFile> {
  const path = join(directory, '.gitignore')
  const text = await reader.readText(path)
  if (text.length > MAX_IGNORE_FILE_CHARS) throw refused(path, `is longer than ${MAX_IGNORE_FILE_CHARS} characters`)
  return readIgnoreFile(text)
}

async function entryOf(reader: FolderReader, path: string, kind: 'file' | 'link' | 'other'): Promise<SourceEntry> {
  switch (kind) {
    case 'link':
      return { kind, path, target: await reader.readLink(path) }
    case 'other':
      throw refused(path, 'is a device, a socket or a pipe; only files and links can be deployed')
    case 'file':
      return { kind, path, ...(await reader.stat(path)) }
  }
}

/** Counts what is taken and refuses the entry with which a limit is passed. */
export function sourceMeter(limits: SourceLimits): (entry: SourceEntry) => SourceEntry {
  let files = 0
  let total = 0
  return (entry) => {
    files += 1
    if (files > limits.maxFiles) throw refused(entry.path, `is one file too many: at most ${limits.maxFiles} are taken`)
    if (entry.kind === 'link') return entry
    if (entry.bytes > limits.maxFileBytes) {
      throw refused(entry.path, `is larger than ${limits.maxFileBytes} bytes`, { bytes: entry.bytes })
    }
    total += entry.bytes
    if (total > limits.maxTotalBytes)
      throw refused(entry.path, `makes the source larger than ${limits.maxTotalBytes} bytes`)
    return entry
  }
}

/** Before anything else is done with a path: its length is chosen by whoever sends it. */
export function checkPathLength(path: string): void {
  if (isTooLong(path)) throw refused(path, `is longer than ${MAX_PATH_BYTES} bytes`)
}

const isTooLong = (path: string): boolean => path.length > MAX_PATH_BYTES || byteLength(path) > MAX_PATH_BYTES

/** Refuses paths that do not stay in the folder, or that would mean something else on another system. */
export function checkSourcePath(path: string): void {
  checkPathLength(path)
  const parts = path.split('/')
  if (path === '' || path.startsWith('/') || parts.includes('')) throw refused(path, 'is not a relative path')
  if (parts.includes('..') || parts.includes('.')) throw refused(path, 'leaves the source folder or is not normalised')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\0-\x1f\x7f\ufffd]/.test(path)) throw refused(path, 'has a control character, or is not UTF-8')
}

/** True for what is never part of a source, wherever it lies. */
export function isNeverTaken(path: string): boolean {
  return path.split('/').some((name) => NEVER_TAKEN.has(name))
}

/**
 * Refuses links that leave the folder. Each is followed as the kernel would, component by component through the other
 * links: comparing the text is not enough, because `a/up → .` makes `up/up/../..` end outside although it looks inside.
 */
export function checkLinks(entries: readonly SourceEntry[]): void {
  const effort = { left: MAX_EFFORT_FOR_LINKS }
  const links = new Map(
    entries.flatMap((entry) => (entry.kind === 'link' ? [[entry.path, entry.target] as const] : [])),
  )
  for (const [path, target] of links) {
    if (isTooLong(target)) throw refused(path, `is a link to a path longer than ${MAX_PATH_BYTES} bytes`)
    if (!staysInside(path, links, effort))
      throw refused(path, `is a link that leaves the source folder, to ${target}`, { target })
    if (effort.left < 0)
      throw refused(path, 'is one link too many that leads through long paths and other links; make them shorter')
  }
}

function staysInside(path: string, links: ReadonlyMap<string, string>, effort: { left: number }): boolean {
  let at = ''
  /** The next part is the last. */
  const ahead = path.split('/').reverse()
  let followed = 0
  for (let part = ahead.pop(); part !== undefined && effort.left >= 0; part = ahead.pop()) {
    effort.left -= at.length + STEP_EFFORT
    if (part === '' || part === '.') continue
    if (part === '..') {
      if (at === '') return false
      at = parent(at)
      continue
    }
    at = join(at, part)
    const target = links.get(at)
    if (target === undefined) continue
    followed += 1
    if (target.startsWith('/') || target === '' || followed > MAX_LINKS_FOLLOWED) return false
    at = parent(at)
    effort.left -= target.length
    for (const next of target.split('/').reverse()) ahead.push(next)
  }
  return true
}

export function refused(path: string, reason: string, details: Record<string, unknown> = {}): CoppiceError {
  const field = path.slice(0, MAX_PATH_BYTES)
  return new CoppiceError('SourceRefused', `The file ${JSON.stringify(field)} ${reason}`, { field, ...details })
}

/** The order of a source: by code unit, so that it does not depend on a language. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

type PlacedIgnoreFile = { base: string; file: IgnoreFile }

function isIgnored(path: string, isDirectory: boolean, files: readonly PlacedIgnoreFile[]): boolean {
  for (const { base, file } of files.toReversed()) {
    const verdict = file.verdict(base === '' ? path : path.slice(base.length + 1), isDirectory)
    if (verdict !== null) return verdict === 'ignored'
  }
  return false
}

function parent(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

function join(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`
}
