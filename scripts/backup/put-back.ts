import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { asDiskFull } from '../../domain/disk-full.ts'
import { CoppiceError } from '../../domain/errors.ts'
import { becomeAnother } from '../../store/home-id.ts'
import { MIGRATIONS, schemaVersion } from '../../store/migrations.ts'
import { acquireProcessLock } from '../../store/process-lock.ts'
import { platformOn } from '../stack/strays.ts'
import { type BackupHead, HEAD, readArchive } from './archive.ts'
import { restoreDraft, restoring, sweepDrafts } from './drafts.ts'

/**
 * Makes a data directory of a backup. It is unpacked and examined aside and only then put into its place, so that there
 * is all of it or nothing.
 *
 * @throws CoppiceError InvalidInput when the home is in use or cannot be written, or the file is no backup; StoreNewer;
 * DiskFull.
 */
export async function putBack(file: string, home: string): Promise<BackupHead> {
  if (!existsSync(file)) throw new CoppiceError('InvalidInput', `There is no file ${file}`, { field: 'file' })
  try {
    return await unpack(file, home)
  } catch (error) {
    throw explained(error as Error, file, home)
  }
}

async function unpack(file: string, home: string): Promise<BackupHead> {
  // Half a restore is no use of the folder.
  await sweepDrafts(home, dirname(file))
  await refuseUsed(home, file)
  await mkdir(dirname(home), { recursive: true })
  const draft = await restoreDraft(home)
  try {
    await readArchive(file, draft.folder)
    const head = readHead(draft.folder)
    prepareInventory(join(draft.folder, 'inventory.db'))
    await rm(join(draft.folder, HEAD))
    await refuseUsed(home, file, basename(draft.folder))
    await draft.settle()
    return head
  } catch (error) {
    await draft.remove()
    throw error
  }
}

function explained(error: NodeJS.ErrnoException, file: string, home: string): Error {
  if (error instanceof CoppiceError) return error
  const full = asDiskFull(error)
  if (full !== null) return full
  const refused = (words: string, field: string) => new CoppiceError('InvalidInput', words, { field }, { cause: error })
  if (error.code === 'ERR_SQLITE_ERROR')
    return refused(`The inventory in the backup is damaged: ${error.message}`, 'file')
  if (error.syscall === undefined) return error
  // Of what cannot be read, as a folder, the system does not say what it was.
  if (error.path === file || error.syscall === 'read')
    return refused(`${file} cannot be read: ${error.message}`, 'file')
  return refused(
    `${home} cannot be restored into: ${error.message}. Make it an empty folder of the user who restores, or name another data directory (--home)`,
    'home',
  )
}

/** What stands at the top of a disk that was just made. */
const OF_THE_DISK = 'lost+found'

async function refuseUsed(home: string, file: string, own?: string): Promise<void> {
  const refuse = (words: string) => {
    throw new CoppiceError('InvalidInput', words, { field: 'home' })
  }
  const isLink = lstatSync(home, { throwIfNoEntry: false })?.isSymbolicLink() === true
  if (isLink && !existsSync(home))
    refuse(`${home} is a link to ${readlinkSync(home)}, which is not there: make it first`)
  const names = (existsSync(home) ? readdirSync(home) : []).filter((name) => name !== OF_THE_DISK && name !== own)
  const inside = !relative(home, file).startsWith('..')
  const purge = `coppice down --purge${inside ? `. That would remove ${file}, too: move it elsewhere first` : ''}`
  if (names.some((name) => restoring(name) === 'alive')) refuse(`Another restore into ${home} is under way`)
  // It runs on also where all its files were removed.
  const isRunning =
    ['start', 'control', 'worker'].some((name) => isHeld(join(home, 'run', `${name}.lock`))) ||
    (await platformOn(home)).length > 0
  if (isRunning)
    refuse(`A platform runs on ${home}. Restore into another data directory (--home), or stop and remove it: ${purge}`)
  if (names.some((name) => restoring(name) === null))
    refuse(`${home} is not empty. Restore into another data directory (--home), or remove this one: ${purge}`)
}

function isHeld(lockFile: string): boolean {
  if (!existsSync(lockFile)) return false
  const lock = acquireProcessLock(lockFile)
  lock?.release()
  return lock === null
}

function readHead(folder: string): BackupHead {
  const parts = [HEAD, 'inventory.db', 'secret.key'].filter((name) => !existsSync(join(folder, name)))
  if (parts.length > 0)
    throw new CoppiceError('InvalidInput', `The file is not a whole backup: ${parts.join(', ')} is missing`, {
      field: 'file',
    })
  const head = JSON.parse(readFileSync(join(folder, HEAD), 'utf8')) as BackupHead
  if (head.format !== 1)
    throw new CoppiceError('StoreNewer', `The backup has format ${head.format}, this program knows 1`)
  return head
}

function prepareInventory(file: string): void {
  const raw = new DatabaseSync(file)
  try {
    const check = raw.prepare('pragma integrity_check').get() as { integrity_check: string }
    if (check.integrity_check !== 'ok')
      throw new CoppiceError('InvalidInput', `The inventory in the backup is damaged: ${check.integrity_check}`)
    const version = schemaVersion(raw)
    if (version > MIGRATIONS.length)
      throw new CoppiceError(
        'StoreNewer',
        `The inventory in the backup has schema version ${version}, this program knows ${MIGRATIONS.length} at most`,
      )
    raw.exec('begin')
    raw.exec(`delete from meta where key = 'home'`)
    becomeAnother(raw)
    raw.exec('commit')
  } finally {
    raw.close()
  }
}
