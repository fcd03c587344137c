import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Check } from './check.ts'

/** Less cannot hold another environment of an app. */
const LOW_BYTES = 1024 ** 3
/** With less, what is written fails already, though not all of it. */
const FULL_BYTES = 16 * 1024 ** 2
/** An environment of Python has tens of thousands; the inventory alone needs some for each write. */
const LOW_FILES = 50_000
const FULL_FILES = 100

/** Parts of a data directory that may lie on another disk. */
const MOVED = ['artifacts', 'cache', 'instances']

export type Free = { bytes: number; files: number }

/** The scarcest of the disks of a data directory. */
export async function diskCheck(home: string): Promise<Check> {
  const all = await Promise.all(['.', ...MOVED].map((name) => freeAt(join(home, name))))
  return judge(
    { bytes: Math.min(...all.map((one) => one.bytes)), files: Math.min(...all.map((one) => one.files)) },
    home,
  )
}

export function judge({ bytes, files }: Free, home: string): Check {
  const name = 'disk'
  const full = bytes < FULL_BYTES || files < FULL_FILES
  const hint = full
    ? 'Free disk space, or remove files. Apps serve on meanwhile; operations, uploads and log lines fail. Nothing has to be started again.'
    : 'Free some space; builds and logs fail on a full disk.'
  if (full && bytes >= FULL_BYTES)
    return { name, ok: false, message: `disk full: room for ${files} more files at ${home}`, hint }
  if (full) return { name, ok: false, message: `disk full: ${Math.floor(bytes / 1024 ** 2)} MiB free at ${home}`, hint }
  const space = `${(bytes / 1024 ** 3).toFixed(1)} GiB free at ${home}`
  if (files < LOW_FILES) return { name, ok: false, message: `${space}, but room for ${files} more files only`, hint }
  return bytes > LOW_BYTES ? { name, ok: true, message: space } : { name, ok: false, message: space, hint }
}

/** What is not there takes no space; file systems without a bound on files say 0 of 0. */
const freeAt = (path: string): Promise<Free> =>
  statfs(path).then(
    ({ bavail, bsize, ffree, files }) => ({
      bytes: bavail * bsize,
      files: files > 0 ? ffree : Number.POSITIVE_INFINITY,
    }),
    () => ({ bytes: Number.POSITIVE_INFINITY, files: Number.POSITIVE_INFINITY }),
  )
