import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readlinkSync } from 'node:fs'
import { mkdir, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ownerIsGone, ownerTag } from '../../runtime/artifacts/owners.ts'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { backupsFolder } from '../../store/backups.ts'

/**
 * Half a backup and half a restore hold a key and a token. Both are made in a folder of mode 0700 beside their place,
 * which says whose it is; whoever works on the data directory next takes away what a killed one has left.
 */
const BACKING_UP = '.backing-up-'
const RESTORING = '.restoring-'

export type Draft = { folder: string; remove(): Promise<void> }

/** Beside `file`, which may lie anywhere: the data directory keeps a note of where. */
export async function backupDraft(home: string, file: string): Promise<Draft> {
  const owner = newOwner()
  const folder = `${file}${BACKING_UP}${owner}`
  const note = join(notes(home), owner)
  // On a full disk there is no note; the next backup into the same folder finds it all the same.
  await mkdir(notes(home), { recursive: true, mode: 0o700 })
    .then(() => symlink(folder, note))
    .catch(() => {})
  await mkdir(folder, { mode: 0o700 })
  const remove = async () => {
    await removeTree(folder)
    await rm(note, { force: true })
  }
  return { folder, remove }
}

export async function restoreDraft(home: string): Promise<Draft> {
  const folder = `${home}${RESTORING}${newOwner()}`
  await mkdir(folder, { mode: 0o700 })
  return { folder, remove: () => removeTree(folder) }
}

/**
 * @param beside where a backup lies, or shall.
 * @returns why some are left; they are found again the next time.
 */
export async function sweepDrafts(home: string, beside: string | null = null): Promise<string[]> {
  const failures: string[] = []
  const attempt = (work: Promise<void>) => work.catch((error: Error) => void failures.push(error.message))
  await attempt(sweep(dirname(home), (name) => ownerIn(name, `${basename(home)}${RESTORING}`)))
  for (const owner of namesIn(notes(home)).filter(ownerIsGone))
    await attempt(followNote(join(notes(home), owner), owner))
  for (const folder of [backupsFolder(home), ...(beside === null ? [] : [beside])])
    await attempt(sweep(folder, (name) => ownerIn(name, BACKING_UP)))
  return failures
}

async function followNote(note: string, owner: string): Promise<void> {
  const folder = readlinkSync(note)
  if (folder.endsWith(`${BACKING_UP}${owner}`)) await removeTree(folder)
  await rm(note)
}

async function sweep(folder: string, ownerOf: (name: string) => string | null): Promise<void> {
  for (const name of namesIn(folder)) {
    const owner = ownerOf(name)
    if (owner !== null && ownerIsGone(owner)) await removeTree(join(folder, name))
  }
}

/** What we name so has all of it; what somebody else names alike is his. */
function ownerIn(name: string, before: string): string | null {
  const owner = name.slice(name.lastIndexOf(before) + before.length)
  return name.includes(before) && /^\d+\.\d+-[0-9a-f]{8}$/.test(owner) ? owner : null
}

const newOwner = () => `${ownerTag()}-${randomUUID().slice(0, 8)}`
const notes = (home: string): string => join(home, 'run', 'backing-up')
const namesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : [])
