import { constants } from 'node:fs'
import { lstat, mkdir, open, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { CoppiceError } from '../../../domain/errors.ts'
import { copyTree, removeTree, setAside } from '../../artifacts/trees.ts'
import { openRegular, readAt } from '../../regular-file.ts'

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
      /** Of the data directory that started it: one that was copied holds records of the original's. Older ones lack it. */
      homeId?: string
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

/** Ids become names of files, so they are held to what a file name may safely be. */
export const isId = (text: string): boolean => /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(text)

/** Ours has some 150 bytes. */
const MAX_RECORD_BYTES = 4_096

/**
 * Null when there is none, or none that can be believed: the app runs as our user, and may have put anything there. What
 * was started is found by its marks, its folder and its control group then.
 */
export async function readRecord(directory: InstanceDirectory, id: string): Promise<InstanceRecordFile | null> {
  const file = await openRegular(directory.record, constants.O_RDONLY)
  if (file === null) return null
  const text = await readAt(file, 0, MAX_RECORD_BYTES + 1)
    .catch(() => Buffer.alloc(0))
    .finally(() => file.close())
  if (text.length > MAX_RECORD_BYTES) return null
  try {
    const record: unknown = JSON.parse(text.toString('utf8'))
    return isRecord(record) && record.id === id ? record : null
  } catch {
    return null
  }
}

function isRecord(value: unknown): value is InstanceRecordFile {
  const record = (value ?? {}) as Record<string, unknown>
  if (typeof record.id !== 'string') return false
  if (record.phase === 'intent') return true
  // A group of 1 or less means every process there is to kill(2).
  const isPid = Number.isSafeInteger(record.pid) && (record.pid as number) > 1
  const isTime = Number.isFinite(record.startedAt)
  return record.phase === 'started' && isPid && isTime && isPort(record.port) && typeof record.startTime === 'string'
}

const isPort = (port: unknown): boolean => Number.isInteger(port) && (port as number) > 0 && (port as number) < 65_536

/** Whether somebody took it away; one whose permissions an app has taken away is still there. */
export async function isGone(directory: InstanceDirectory): Promise<boolean> {
  return lstat(directory.record).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT' || error.code === 'ENOTDIR',
  )
}

/**
 * The directory with nothing but the intent to start something in it. Nothing of the instance lives any more; what it left
 * behind goes as a whole, because each name in it may be something else by now than what we made.
 */
export async function beginAnew(directory: InstanceDirectory, id: string): Promise<void> {
  const left = await removeDirectory(directory)
  if (left?.inPlace) throw new CoppiceError('Unavailable', left.words)
  await mkdir(directory.path, { recursive: true, mode: 0o700 })
  await writeRecord(directory, { phase: 'intent', id })
}

/** On the disk, whole, when this returns. */
export async function writeRecord(directory: InstanceDirectory, record: InstanceRecordFile): Promise<void> {
  const draft = `${directory.record}.draft`
  const file = await open(draft, 'wx', 0o600)
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
 * nothing of it stays: on a full disk half a copy would take what others need.
 */
export async function furnish(
  directory: InstanceDirectory,
  artifactPath: string,
  links: Readonly<Record<string, string>>,
): Promise<void> {
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

/** What could not be removed: why, and where it is now. */
export type LeftDirectory = {
  words: string
  /** It could not be moved either: a folder or a disk that nobody may write, a mount. */
  inPlace: boolean
}

/** @returns null as a rule. */
export function removeDirectory(directory: InstanceDirectory): Promise<LeftDirectory | null> {
  return removeOrSetAside(directory.path, directory.trash)
}

async function removeOrSetAside(path: string, trash: string): Promise<LeftDirectory | null> {
  try {
    await removeTree(path)
    return null
  } catch (error) {
    const grave = await setAside(path, trash)
    const where = grave === null ? 'it cannot be moved either and stays where it is' : `it was set aside as ${grave}`
    return { words: `${(error as Error).message}; ${where}`, inPlace: grave === null }
  }
}
