import { constants } from 'node:fs'
import { chmod, copyFile, lstat, mkdir, open, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/**
 * What lies on disk of one instance: `<home>/<id>/` with `record.json`, and the three directories that the app sees,
 * `work` (its working directory), `home` and `tmp`. Whatever is interrupted, the directory is there from before the
 * first effect until after the last, so nothing of an instance is ever out of sight.
 */
export type InstanceRecordFile =
  /** Written before anything is started; what may carry the id from here on is to be looked for. */
  | { phase: 'intent'; id: string }
  /** Written before the child is told to go: whoever reads this knows which process it is. */
  | {
      phase: 'started'
      id: string
      pid: number
      startTime: string
      port: number
      /** Unix ms. */
      startedAt: number
    }

export type InstanceDirectory = ReturnType<typeof instanceDirectory>

export function instanceDirectory(home: string, id: string) {
  const path = join(home, id)
  return {
    path,
    record: join(path, 'record.json'),
    work: join(path, 'work'),
    home: join(path, 'home'),
    tmp: join(path, 'tmp'),
  }
}

/** Null when there is none, or none that can be read: nothing was started that is not found by its environment. */
export async function readRecord(directory: InstanceDirectory): Promise<InstanceRecordFile | null> {
  try {
    return JSON.parse(await readFile(directory.record, 'utf8')) as InstanceRecordFile
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** On the disk, whole, when this returns. */
export async function writeRecord(directory: InstanceDirectory, record: InstanceRecordFile): Promise<void> {
  await mkdir(directory.path, { recursive: true, mode: 0o700 })
  const draft = `${directory.record}.draft`
  const file = await open(draft, 'w', 0o600)
  try {
    await file.writeFile(JSON.stringify(record))
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(draft, directory.record)
  await syncDirectory(directory.path)
}

async function syncDirectory(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY)
  await folder.sync().finally(() => folder.close())
}

/** Empty HOME and TMPDIR, and a working directory that is a writable copy of the artifact (R1.5). */
export async function furnish(
  directory: InstanceDirectory,
  artifactPath: string,
  links: Readonly<Record<string, string>>,
): Promise<void> {
  await clear(directory)
  await mkdir(directory.home, { recursive: true, mode: 0o700 })
  await mkdir(directory.tmp, { mode: 0o700 })
  await copyTree(artifactPath, directory.work)
  for (const [name, target] of Object.entries(links)) {
    const link = join(directory.work, name)
    await rm(link, { recursive: true, force: true })
    await mkdir(dirname(link), { recursive: true })
    await symlink(target, link)
  }
}

/** The three directories of the app; the record stays. */
async function clear(directory: InstanceDirectory): Promise<void> {
  for (const path of [directory.work, directory.home, directory.tmp]) await removeTree(path)
}

export function removeDirectory(directory: InstanceDirectory): Promise<void> {
  return removeTree(directory.path)
}

/**
 * The artifact is sealed, its copy is the app's own: everything becomes writable for the owner. Blocks are shared
 * where the file system can (reflinks); never by hard links, which would let the app write into the artifact.
 */
async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true, mode: 0o700 })
  const entries = await readdir(from, { withFileTypes: true })
  await inParallel(8, entries, async (entry) => {
    const source = join(from, entry.name)
    const target = join(to, entry.name)
    if (entry.isDirectory()) return copyTree(source, target)
    if (entry.isSymbolicLink()) return symlink(await readlink(source), target)
    if (!entry.isFile()) return
    await copyFile(source, target, constants.COPYFILE_FICLONE)
    const { mode } = await lstat(target)
    if ((mode & 0o600) !== 0o600) await chmod(target, mode | 0o600)
  })
}

/** An app may have taken away its own right to delete; being the owner we give it back. */
async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EACCES' && code !== 'EPERM' && code !== 'ENOTEMPTY') throw error
    await openUp(path)
    await rm(path, { recursive: true, force: true })
  }
}

async function openUp(path: string): Promise<void> {
  const found = await lstat(path).catch(() => null)
  if (!found?.isDirectory()) return
  await chmod(path, 0o700)
  for (const name of await readdir(path)) await openUp(join(path, name))
}

async function inParallel<T>(width: number, items: T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const rest = items.values()
  await Promise.all(
    Array.from({ length: Math.min(width, items.length) }, async () => {
      for (const item of rest) await work(item)
    }),
  )
}
