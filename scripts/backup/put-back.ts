import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, rmdirSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { CoppiceError } from '../../domain/errors.ts'
import { MIGRATIONS, schemaVersion } from '../../store/migrations.ts'
import { acquireProcessLock } from '../../store/process-lock.ts'
import { type BackupHead, HEAD, readArchive } from './archive.ts'
import { restoreDraft, sweepDrafts } from './drafts.ts'

/**
 * Makes a data directory of a backup. It is unpacked and examined beside its place and then renamed, so that there is
 * all of it or nothing.
 *
 * @throws CoppiceError InvalidInput when the home is in use or the file is no backup; StoreNewer.
 */
export async function putBack(file: string, home: string): Promise<BackupHead> {
  if (!existsSync(file)) throw new CoppiceError('InvalidInput', `There is no file ${file}`, { field: 'file' })
  refuseUsed(home, file)
  await mkdir(dirname(home), { recursive: true })
  await sweepDrafts(home, dirname(file))
  const { folder: aside, remove } = await restoreDraft(home)
  try {
    await readArchive(file, aside)
    const head = readHead(aside)
    prepareInventory(join(aside, 'inventory.db'))
    await rm(join(aside, HEAD))
    refuseUsed(home, file)
    if (existsSync(home)) rmdirSync(home)
    renameSync(aside, home)
    return head
  } catch (error) {
    await remove()
    throw error
  }
}

function refuseUsed(home: string, file: string): void {
  if (!existsSync(home) || readdirSync(home).length === 0) return
  const inside = !relative(home, file).startsWith('..')
  const purge = `coppice down --purge${inside ? `. That would remove ${file}, too: move it elsewhere first` : ''}`
  if (['start', 'control', 'worker'].some((name) => isHeld(join(home, 'run', `${name}.lock`))))
    throw new CoppiceError(
      'InvalidInput',
      `A platform runs on ${home}. Restore into another data directory (--home), or stop and remove it: ${purge}`,
      { field: 'home' },
    )
  throw new CoppiceError(
    'InvalidInput',
    `${home} is not empty. Restore into another data directory (--home), or remove this one: ${purge}`,
    { field: 'home' },
  )
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

/**
 * The copy goes on as an inventory of its own: under a new id, so that no router takes its tables for older ones of
 * the other; with instances that are wanted but not there, because their processes and ports are another's now.
 */
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
    raw.prepare(`update meta set value = ? where key = 'inventory'`).run(randomUUID())
    raw.exec(`
      delete from routers;
      delete from ports;
      delete from meta where key = 'home';
      update instances set observed = 'pending', address = null, pid = null, restart_at = null, started_at = null,
        metered_at = null;
      commit;`)
  } finally {
    raw.close()
  }
}
