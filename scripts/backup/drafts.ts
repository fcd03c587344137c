import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, readlinkSync, renameSync, writeFileSync } from 'node:fs'
import { chmod, mkdir, rm, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ownerIsGone, ownerTag } from '../../runtime/artifacts/owners.ts'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { backupsFolder } from '../../store/backups.ts'

/**
 * Half a backup and half a restore hold a key and a token. Both are made in a folder of mode 0700 beside their place, or
 * in it, which says whose it is; whoever works on the data directory next takes away what a killed one has left.
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

/** `settle` makes the data directory of what is in the folder. */
export type RestoreDraft = Draft & { settle(): Promise<void> }

/**
 * A data directory that is there already may be a disk of its own, a link to one, or in a folder that is not ours: it
 * stays, its parts are made in it and moved up. One that is not there appears as a whole.
 */
export async function restoreDraft(home: string): Promise<RestoreDraft> {
  const inside = existsSync(home)
  const folder = `${inside ? join(home, RESTORING) : `${home}${RESTORING}`}${newOwner()}`
  await mkdir(folder, { mode: 0o700 })
  if (!inside) return { folder, remove: () => removeTree(folder), settle: async () => renameSync(folder, home) }
  return { folder, remove: () => removeInside(folder), settle: () => moveUp(folder) }
}

/** What `moveUp` moves; as long as the inventory has not arrived, whatever of it is above is half a restore. */
const PARTS = '.parts.json'
const INVENTORY = 'inventory.db'

async function moveUp(folder: string): Promise<void> {
  const home = dirname(folder)
  const parts = namesIn(folder).filter((name) => name !== INVENTORY)
  // Other users can look into a disk that was just made; who does not own it cannot change that.
  await chmod(home, 0o700).catch(() => {})
  writeFileSync(join(folder, PARTS), JSON.stringify(parts), { flush: true })
  for (const name of [...parts, INVENTORY]) renameSync(join(folder, name), join(home, name))
  await removeTree(folder)
}

async function removeInside(folder: string): Promise<void> {
  // One that is above as well is somebody else's, who has gone on from what he found there.
  const isHalf = existsSync(join(folder, INVENTORY)) && !existsSync(join(dirname(folder), INVENTORY))
  for (const name of isHalf ? partsOf(folder) : [])
    if (!existsSync(join(folder, name))) await removeTree(join(dirname(folder), basename(name)))
  await removeTree(folder)
}

/** None where it was killed before it had written all of them: then it has moved none. */
function partsOf(folder: string): string[] {
  try {
    return JSON.parse(readFileSync(join(folder, PARTS), 'utf8')) as string[]
  } catch {
    return []
  }
}

/** Of a restore into this folder that is under way, or was killed; null for a name that no restore gives. */
export function restoring(name: string): 'alive' | 'dead' | null {
  const owner = ownerIn(name, RESTORING)
  if (owner === null || name !== `${RESTORING}${owner}`) return null
  return ownerIsGone(owner) ? 'dead' : 'alive'
}

/**
 * @param beside where a backup lies, or shall.
 * @returns why some are left; they are found again the next time.
 */
export async function sweepDrafts(home: string, beside: string | null = null): Promise<string[]> {
  const failures: string[] = []
  const attempt = (work: Promise<void>) => work.catch((error: Error) => void failures.push(error.message))
  await attempt(sweep(dirname(home), (name) => ownerIn(name, `${basename(home)}${RESTORING}`)))
  await attempt(sweepInside(home))
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

async function sweepInside(home: string): Promise<void> {
  for (const name of namesIn(home)) if (restoring(name) === 'dead') await removeInside(join(home, name))
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
