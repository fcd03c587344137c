import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { constants, lstatSync, readdirSync, type Stats } from 'node:fs'
import { chmod, copyFile, lstat, mkdir, readdir, readlink, rename, rm, symlink, utimes } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { Slice } from '../slice.ts'

const run = promisify(execFile)

/**
 * Calls `visit` for everything below `root`, parents first, with paths relative to it. No link is followed, and a root
 * that is one has nothing below it: what is built may be a link to what it could not read itself. Uses the synchronous calls in
 * short slices: a stat through the thread pool costs 20 times the stat itself, and a layer has thousands of files.
 */
export async function walkTree(root: string, visit: (path: string, stats: Stats) => void): Promise<void> {
  if (!lstatSync(root).isDirectory())
    throw Object.assign(new Error(`ENOTDIR: ${root} is not a directory`), { code: 'ENOTDIR' })
  const directories = ['']
  const slice = new Slice()
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    for (const name of readdirSync(join(root, directory))) {
      const path = directory === '' ? name : `${directory}/${name}`
      const stats = lstatSync(join(root, path))
      visit(path, stats)
      if (stats.isDirectory()) directories.push(path)
      if (slice.isOver) await slice.next()
    }
  }
}

export type CopyOptions = {
  /** Top-level names that are left out. */
  except?: ReadonlySet<string>
  /** Ends the copying; what is there by then stays and is the caller's to remove. */
  signal?: AbortSignal
}

/**
 * Copies a tree so that the copy can be written: sealed files are read-only, their copies are not. Blocks are shared
 * where the file system can (reflink). Times are kept, so that instances of one deployment answer with the same
 * Last-Modified and ETag. `to` is made if it is not there.
 */
export async function copyTree(from: string, to: string, options: CopyOptions = {}): Promise<void> {
  await mkdir(to, { recursive: true })
  const jobs: Array<() => Promise<void>> = []
  const directories: string[] = []
  await walkTree(from, (path, stats) => {
    const top = path.split('/', 1)[0] ?? path
    if (options.except?.has(top)) return
    if (stats.isDirectory()) directories.push(path)
    else jobs.push(() => copyOne(join(from, path), join(to, path), stats))
  })
  for (const directory of directories) await mkdir(join(to, directory), { recursive: true })
  await inParallel(jobs, 16, options.signal)
}

async function copyOne(from: string, to: string, stats: Stats): Promise<void> {
  if (stats.isSymbolicLink()) return symlink(await readlink(from), to)
  await copyFile(from, to, constants.COPYFILE_FICLONE)
  await chmod(to, (stats.mode & 0o777) | 0o200)
  await utimes(to, stats.atimeMs / 1000, stats.mtimeMs / 1000)
}

/** Removes a tree, sealed or not, however deep; one that is not there is a success. */
export async function removeTree(path: string): Promise<void> {
  const stats = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (stats === null) return
  if (!stats.isDirectory()) return rm(path, { force: true })
  try {
    await makeDirectoriesWritable(path)
    await rm(path, { recursive: true, force: true, maxRetries: 3 })
  } catch {
    // Node names everything by its whole path, which the kernel takes up to 4096 bytes of; these two go down by
    // descriptors. What they cannot do either they say better.
    await run('chmod', ['-R', 'u+rwX', '--', path]).catch(() => undefined)
    await run('rm', ['-rf', '--', path]).catch((error: { stderr?: string }) => {
      throw Object.assign(
        new Error(`cannot remove ${path}: ${error.stderr?.trim().split('\n')[0]?.slice(0, 300) ?? error}`),
        {
          code: 'ENOTEMPTY',
        },
      )
    })
  }
}

/**
 * Puts what cannot be removed where it is in nobody's way, for `emptyTrash` to try again.
 *
 * @returns where it is now; null when it cannot be moved either, and stays where it was.
 */
export async function setAside(path: string, trash: string): Promise<string | null> {
  const grave = join(trash, `${basename(path)}-${randomUUID().slice(0, 8)}`)
  try {
    await mkdir(trash, { recursive: true, mode: 0o700 })
    await rename(path, grave)
    return grave
  } catch {
    return null
  }
}

export async function emptyTrash(trash: string): Promise<void> {
  // What still cannot be removed stays for the next time, and for the doctor.
  for (const name of await readdir(trash).catch(() => [])) await removeTree(join(trash, name)).catch(() => undefined)
}

/** Without the right to write a directory nobody but root can take files out of it. */
async function makeDirectoriesWritable(path: string): Promise<void> {
  await chmod(path, 0o700)
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeDirectoriesWritable(join(path, entry.name))
  }
}

/** Runs the jobs, `width` at a time. After the first failure none is begun, and it is thrown once the others ended. */
export async function inParallel(jobs: Array<() => Promise<void>>, width: number, signal?: AbortSignal): Promise<void> {
  let next = 0
  const failures: unknown[] = []
  const work = async () => {
    for (let job = jobs[next++]; job !== undefined && failures.length === 0; job = jobs[next++]) {
      try {
        signal?.throwIfAborted()
        await job()
      } catch (error) {
        failures.push(error)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(width, jobs.length) }, work))
  if (failures.length > 0) throw failures[0]
}
