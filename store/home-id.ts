import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { asDiskFull } from '../domain/disk-full.ts'

/** What `meta` holds under `home`. Older versions wrote no path. */
type Mark = { id: string; inode: number; path?: string }

/**
 * A copy goes on as an inventory of its own: under a new id, so that no router takes its tables for older ones of the
 * original; with instances that are wanted but not there, because processes, ports and routers are the original's.
 */
export function becomeAnother(raw: DatabaseSync): void {
  raw.prepare(`update meta set value = ? where key = 'inventory'`).run(randomUUID())
  raw.exec(`
    delete from routers;
    delete from ports;
    update instances set observed = 'pending', address = null, pid = null, restart_at = null, started_at = null,
      metered_at = null;`)
}

/**
 * Marks every process of this data directory, so that whatever is left of it is found again, whichever of its folders were
 * lost. Inode and real path of the inventory keep a copy of the data directory from taking the original's processes for
 * its own: `cp -r` on one disk draws another inode, a copy on another disk may well get the same number. A rename
 * changes the path, and leaves nothing at the old one.
 */
export function homeIdOf(raw: DatabaseSync, home: string, file: string): string {
  const here = placeOf(file)
  // The usual start changes nothing, and need not wait for anybody.
  const usual = read(raw)
  if (usual?.inode === here.inode && usual.path === here.path) return usual.id
  let kept: string | null = null
  raw.exec('begin immediate')
  try {
    const known = read(raw)
    kept = known === null ? markerOf(home) : idHere(known, file)
    const id = kept ?? draw()
    if (known !== null && kept === null) becomeAnother(raw)
    raw
      .prepare(
        `insert into meta (key, value) values ('home', ?) on conflict (key) do update set value = excluded.value`,
      )
      .run(JSON.stringify({ id, ...here } satisfies Mark))
    raw.exec('commit')
    return id
  } catch (error) {
    // A full disk has ended it already, and is the error to be told.
    if (raw.isTransaction) raw.exec('rollback')
    // The id is the same; its place is written down by a later start, when there is room.
    if (kept !== null && asDiskFull(error) !== null) return kept
    throw error
  }
}

/**
 * The same for whoever only looks: nothing is written, so that it works on a full disk and on an inventory of another
 * version. Null where nothing has run under an id yet, or where it cannot be read.
 */
export function readHomeId(home: string, file: string): string | null {
  if (!existsSync(file)) return null
  const found = look(file)
  if (found === 'unreadable') return null
  return found === null ? markerOf(home) : idHere(found, file)
}

/** Of a data directory that runs under an id already; also for whoever only looks. */
export function isCopy(file: string): boolean {
  const found = existsSync(file) ? look(file) : null
  return found !== null && found !== 'unreadable' && idHere(found, file) === null
}

function look(file: string): Mark | null | 'unreadable' {
  const untouched = pathToFileURL(file)
  untouched.searchParams.set('immutable', '1')
  // A reader of an inventory that was closed in good order makes an index of its journal first, which takes room on the
  // disk; there is nothing in the journal then.
  for (const place of [file, untouched]) {
    try {
      const raw = new DatabaseSync(place, { readOnly: true, timeout: 10_000 })
      try {
        return read(raw)
      } finally {
        raw.close()
      }
    } catch {
      // The next one.
    }
  }
  return 'unreadable'
}

/** Null in a copy. */
function idHere(mark: Mark, file: string): string | null {
  const { inode, path } = placeOf(file)
  if (mark.inode !== inode) return null
  return mark.path === undefined || mark.path === path || !hasStayed(mark, mark.path, file) ? mark.id : null
}

/**
 * Whether the inventory that the mark was written in is still where it was. Another one may have taken its place since;
 * and one directory may have two names (a bind mount). One that cannot be read is believed to have stayed: a new id
 * costs instances their supervision, a foreign one ends those of somebody else.
 */
function hasStayed(mark: Mark, path: string, file: string): boolean {
  if (!existsSync(path) || isSameFile(path, file)) return false
  const there = look(path)
  if (there === 'unreadable') return true
  return there?.id === mark.id && there.inode === statSync(path).ino
}

const placeOf = (file: string) => ({ inode: statSync(file).ino, path: realpathSync(file) })

/** Of two that are there now: the number of a device changes when the machine starts again. */
export function isSameFile(one: string, other: string): boolean {
  const [a, b] = [one, other].map((path) => statSync(path, { throwIfNoEntry: false }))
  return a !== undefined && a.dev === b?.dev && a.ino === b.ino
}

function read(raw: DatabaseSync): Mark | null {
  const row = raw.prepare(`select value from meta where key = 'home'`).get() as { value: string } | undefined
  return row === undefined ? null : (JSON.parse(row.value) as Mark)
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
