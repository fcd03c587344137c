import { existsSync } from 'node:fs'
import { mkdir, rename } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { CoppiceError } from '../../domain/errors.ts'
import { type BackupBounds, backupsFolder, copyInventory, makeRoom, stamp } from '../../store/backups.ts'
import { schemaVersion } from '../../store/migrations.ts'
import { writeArchive } from './archive.ts'
import { backupDraft, sweepDrafts } from './drafts.ts'

const SUFFIX = '.tar.gz'

export type BackedUp = {
  file: string
  /** Artifacts and sources in it. */
  kept: number
  /** Keys of what went while it was being copied; it is built again when it is needed. */
  missing: string[]
}

/**
 * Copies what a data directory cannot do without into one file; the platform may run meanwhile.
 *
 * @param to the file; null puts it into the data directory, where `bounds` say what stays.
 * @param now Unix ms.
 * @throws CoppiceError InvalidInput
 */
export async function backUp(
  home: string,
  to: string | null,
  now: () => number,
  bounds: BackupBounds,
): Promise<BackedUp> {
  if (!existsSync(join(home, 'inventory.db')))
    throw new CoppiceError('InvalidInput', `${home} is not a data directory of Coppice`, { field: 'home' })
  const begunAt = now()
  const file = resolve(to ?? join(backupsFolder(home), `coppice-${stamp(begunAt)}${SUFFIX}`))
  if (existsSync(file)) throw new CoppiceError('InvalidInput', `${file} is there already`, { field: 'file' })
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  await sweepDrafts(home, dirname(file))
  const { folder, remove } = await backupDraft(home, file)
  const copy = join(folder, 'inventory.db')
  const draft = join(folder, 'archive')
  try {
    copyInventory(home, copy)
    const { schema, keys } = contentsOf(copy)
    const candidates = keys.flatMap((key) =>
      ['artifacts', 'sources'].map((store) => ({
        key,
        name: `${store}/kept/${key}`,
        path: join(home, store, 'kept', key),
      })),
    )
    const present = candidates.filter(({ path }) => existsSync(join(path, 'manifest')))
    await writeArchive(draft, { format: 1, createdAt: new Date(begunAt).toISOString(), schema }, [
      { name: 'inventory.db', path: copy },
      ...['secret.key', 'token']
        .map((name) => ({ name, path: join(home, name) }))
        .filter(({ path }) => existsSync(path)),
      ...present,
    ])
    await rename(draft, file)
    if (to === null) makeRoom(file, bounds, now())
    const there = new Set(present.map(({ key }) => key))
    return { file, kept: present.length, missing: keys.filter((key) => !there.has(key)) }
  } finally {
    await remove()
  }
}

/** What the copy of the inventory needs beside itself. */
function contentsOf(inventory: string): { schema: number; keys: string[] } {
  const raw = new DatabaseSync(inventory, { readOnly: true })
  try {
    const rows = raw.prepare('select distinct key from pins order by key').all() as Array<{ key: string }>
    return { schema: schemaVersion(raw), keys: rows.map(({ key }) => key) }
  } finally {
    raw.close()
  }
}
