import { randomBytes } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'

/**
 * Marks every process of this data directory, so that whatever is left of it is found again, whichever of its folders were
 * lost. The inode of the inventory keeps a copy of the data directory (`cp -r`, a restored backup) from taking the
 * original's processes for its own; a rename changes neither.
 */
export function homeIdOf(raw: DatabaseSync, home: string, file: string): string {
  const inode = statSync(file).ino
  const read = () => {
    const row = raw.prepare(`select value from meta where key = 'home'`).get() as { value: string } | undefined
    return row === undefined ? null : (JSON.parse(row.value) as { id: string; inode: number })
  }
  // The usual start changes nothing, and need not wait for anybody.
  const usual = read()
  if (usual?.inode === inode) return usual.id
  raw.exec('begin immediate')
  try {
    const known = read()
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
