import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'

/**
 * Marks every process of this data directory, so that whatever is left of it is found again, whichever of its folders were
 * lost. The inode of the inventory keeps a copy of the data directory (`cp -r`, a restored backup) from taking the
 * original's processes for its own; a rename changes neither.
 */
export function homeIdOf(raw: DatabaseSync, home: string, file: string): string {
  const inode = statSync(file).ino
  // The usual start changes nothing, and need not wait for anybody.
  const usual = read(raw)
  if (usual?.inode === inode) return usual.id
  raw.exec('begin immediate')
  try {
    const known = read(raw)
    const id = known?.inode === inode ? known.id : ((known === null ? markerOf(home) : null) ?? draw())
    raw
      .prepare(
        `insert into meta (key, value) values ('home', ?) on conflict (key) do update set value = excluded.value`,
      )
      .run(JSON.stringify({ id, inode }))
    raw.exec('commit')
    return id
  } catch (error) {
    // A full disk has ended it already, and is the error to be told.
    if (raw.isTransaction) raw.exec('rollback')
    throw error
  }
}

/**
 * The same for whoever only looks: nothing is written, so that it works on a full disk and on an inventory of another
 * version. Null where nothing has run under an id yet, or where it cannot be read.
 */
export function readHomeId(home: string, file: string): string | null {
  if (!existsSync(file)) return null
  const untouched = pathToFileURL(file)
  untouched.searchParams.set('immutable', '1')
  // A reader of an inventory that was closed in good order makes an index of its journal first, which takes room on the
  // disk; there is nothing in the journal then.
  for (const place of [file, untouched]) {
    try {
      const raw = new DatabaseSync(place, { readOnly: true, timeout: 10_000 })
      try {
        const known = read(raw)
        if (known === null) return markerOf(home)
        return known.inode === statSync(file).ino ? known.id : null
      } finally {
        raw.close()
      }
    } catch {
      // The next one.
    }
  }
  return null
}

function read(raw: DatabaseSync): { id: string; inode: number } | null {
  const row = raw.prepare(`select value from meta where key = 'home'`).get() as { value: string } | undefined
  return row === undefined ? null : (JSON.parse(row.value) as { id: string; inode: number })
}

const draw = () => randomBytes(8).toString('hex')

/** Where older versions kept it: in the folder of the instances, whose own inode was part of it. */
function markerOf(home: string): string | null {
  const folder = join(home, 'instances')
  try {
    const drawn = readFileSync(join(folder, '.marker'), 'utf8').trim()
    return drawn === '' ? null : `${drawn}-${statSync(folder).ino}`
  } catch {
    return null
  }
}
