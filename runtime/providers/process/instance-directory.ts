import { constants } from 'node:fs'
import { mkdir, open, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { copyTree, removeTree, setAside } from '../../artifacts/trees.ts'

/**
 * What lies on disk of one instance: `<home>/<id>/` with `record.json`, an empty `package.json`, and the three
 * directories that the app sees, `work` (its working directory), `home` and `tmp`. Whatever is interrupted, the directory is there from before the
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
    scope: join(path, 'package.json'),
    work: join(path, 'work'),
    home: join(path, 'home'),
    tmp: join(path, 'tmp'),
    /** Of all instances: what could not be removed. */
    trash: trashOf(home),
  }
}

export const trashOf = (home: string): string => join(home, '.trash')

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

/**
 * Empty HOME and TMPDIR, and a working directory that is a writable copy of the artifact (R1.5). When that fails
 * nothing of it stays: on a full disk half a copy would be in its own way.
 */
export async function furnish(
  directory: InstanceDirectory,
  artifactPath: string,
  links: Readonly<Record<string, string>>,
): Promise<void> {
  await clear(directory)
  try {
    await fill(directory, artifactPath, links)
  } catch (error) {
    await clear(directory)
    throw error
  }
}

async function clear(directory: InstanceDirectory): Promise<void> {
  await rm(directory.scope, { force: true })
  for (const path of [directory.work, directory.home, directory.tmp]) await removeOrSetAside(path, directory.trash)
}

async function fill(
  directory: InstanceDirectory,
  artifactPath: string,
  links: Readonly<Record<string, string>>,
): Promise<void> {
  for (const path of [directory.work, directory.home, directory.tmp]) await mkdir(path, { mode: 0o700 })
  // Node takes the nearest package.json above a file. Without this one, Coppice's own would make modules of the
  // scripts of an app that has none, where the data directory lies in the clone.
  await writeFile(directory.scope, '{}\n')
  await copyTree(artifactPath, directory.work)
  for (const [name, target] of Object.entries(links)) {
    const link = join(directory.work, name)
    await rm(link, { recursive: true, force: true })
    await mkdir(dirname(link), { recursive: true })
    await symlink(target, link)
  }
}

/** @returns why it could not be removed, and where it is now; null as a rule. */
export function removeDirectory(directory: InstanceDirectory): Promise<string | null> {
  return removeOrSetAside(directory.path, directory.trash)
}

async function removeOrSetAside(path: string, trash: string): Promise<string | null> {
  try {
    await removeTree(path)
    return null
  } catch (error) {
    return `${(error as Error).message}; it was set aside as ${await setAside(path, trash)}`
  }
}
