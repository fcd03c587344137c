/**
 * A backup is one gzipped tar: what a data directory cannot do without, and nothing that is made again by itself
 * (routes, ports, caches, logs, the state of Temporal).
 *
 *   coppice-backup.json            first: format, time, schema version
 *   inventory.db                   a consistent copy
 *   secret.key, token              so whoever has a backup can do everything; its mode is 0600
 *   artifacts/kept/<key>/…         what kept deployments and open operations pin
 *   sources/kept/<digest>/…
 */
import { createReadStream, createWriteStream } from 'node:fs'
import { chmod, lstat, mkdir, readdir, readlink, symlink, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createGzip } from 'node:zlib'
import { extract, type Header, pack } from 'tar-stream'
import { CoppiceError } from '../../domain/errors.ts'

export const HEAD = 'coppice-backup.json'
export type BackupHead = { format: 1; createdAt: string; schema: number }

type Packer = ReturnType<typeof pack>

/** Packs files and folders, each under its name in the archive; the file appears whole or not at all. */
export async function writeArchive(
  file: string,
  head: BackupHead,
  parts: ReadonlyArray<{ name: string; path: string }>,
): Promise<void> {
  const tar = pack()
  // Level 1: most of it are packages, which are large and of which a higher level saves little.
  const written = pipeline(
    tar,
    createGzip({ level: 1 }),
    createWriteStream(file, { flags: 'wx', mode: 0o600, flush: true }),
  )
  const add = async () => {
    await entry(tar, { name: HEAD, mode: 0o600 }, JSON.stringify(head))
    for (const { name, path } of parts) await addTree(tar, name, path)
    tar.finalize()
  }
  await Promise.all([written, add().catch((error: Error) => tar.destroy(error))])
}

async function addTree(tar: Packer, name: string, path: string): Promise<void> {
  const stats = await lstat(path)
  const header = { name, mode: stats.mode & 0o777, mtime: stats.mtime }
  if (stats.isSymbolicLink()) return entry(tar, { ...header, type: 'symlink', linkname: await readlink(path) })
  if (stats.isFile()) return entry(tar, { ...header, size: stats.size }, createReadStream(path))
  await entry(tar, { ...header, type: 'directory' })
  for (const child of (await readdir(path)).sort()) await addTree(tar, `${name}/${child}`, join(path, child))
}

async function entry(
  tar: Packer,
  header: Partial<Header> & { name: string },
  content?: string | NodeJS.ReadableStream,
) {
  if (content === undefined || typeof content === 'string')
    return new Promise<void>((resolve, reject) => {
      tar.entry(header, content ?? '', (error) => (error ? reject(error) : resolve()))
    })
  await new Promise<void>((resolve, reject) => {
    const into = tar.entry(header, (error) => (error ? reject(error) : resolve()))
    pipeline(content, into).catch(reject)
  })
}

const PLAIN = new Set([HEAD, 'inventory.db', 'secret.key', 'token'])
const KEPT = /^(artifacts|sources)\/kept\/[a-z0-9][a-z0-9-]{0,127}(\/|$)/

/**
 * Unpacks into an empty folder.
 *
 * @throws CoppiceError InvalidInput for what is no backup, or holds what no backup holds.
 */
export async function readArchive(file: string, folder: string): Promise<void> {
  const links = new Set<string>()
  const directories: Array<{ path: string; mode: number }> = []
  const tar = extract()
  const unpacked = (async () => {
    for await (const part of tar) {
      const { name, type, mode = 0o600, mtime, linkname } = part.header
      const inside = name.replace(/\/$/, '')
      const path = join(folder, checkedName(inside, links))
      await mkdir(dirname(path), { recursive: true, mode: 0o700 })
      if (type === 'symlink' && linkname) {
        links.add(inside)
        await symlink(linkname, path)
        part.resume()
      } else if (type === 'directory') {
        await mkdir(path, { recursive: true, mode: 0o700 })
        directories.push({ path, mode })
        part.resume()
      } else if (type === 'file') {
        await pipeline(part, createWriteStream(path, { flags: 'wx', mode: 0o600 }))
        await chmod(path, mode & 0o777)
        if (mtime !== undefined) await utimes(path, mtime, mtime)
      } else throw notABackup(`it holds a ${type}, ${name}`)
    }
  })()
  const [read, done] = await Promise.allSettled([pipeline(createReadStream(file), createGunzip(), tar), unpacked])
  // Whichever fails ends the other; what stopped the unpacking is the cause.
  for (const { status, reason } of [done, read] as PromiseRejectedResult[])
    if (status === 'rejected' && !isAborted(reason)) throw isUnreadable(reason) ? notABackup(reason.message) : reason
  if (read.status === 'rejected') throw notABackup('it ends too early')
  // Only now, because nothing can be put into a sealed one.
  for (const { path, mode } of directories.reverse()) await chmod(path, mode & 0o777)
}

const isAborted = (error: NodeJS.ErrnoException): boolean =>
  error.code === 'ERR_STREAM_PREMATURE_CLOSE' || error.code === 'ABORT_ERR'

/** What zlib and tar-stream say of a file that is cut short or something else altogether; the latter has no code. */
const isUnreadable = (error: NodeJS.ErrnoException): boolean =>
  !(error instanceof CoppiceError) && (error.code === undefined || error.code.startsWith('Z_'))

function checkedName(name: string, links: ReadonlySet<string>): string {
  const segments = name.split('/')
  const strange = segments.some((segment) => segment === '' || segment === '.' || segment === '..')
  const throughLink = segments.some((_, i) => i > 0 && links.has(segments.slice(0, i).join('/')))
  if (strange || throughLink || !(PLAIN.has(name) || KEPT.test(name))) throw notABackup(`it holds ${name}`)
  return name
}

const notABackup = (reason: string): CoppiceError =>
  new CoppiceError('InvalidInput', `The file is not a whole backup: ${reason}`, { field: 'file' })
