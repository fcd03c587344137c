import { constants } from 'node:fs'
import { lstat, realpath, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { CoppiceError } from '../../domain/errors.ts'
import { nullIfDamaged } from '../artifacts/manifest.ts'
import { removeTree } from '../artifacts/trees.ts'
import { openRegular } from '../regular-file.ts'

/**
 * What the worker reads and writes in a stage between two commands of a build. What these ran has ended, and may have put
 * anything in the place of each name: a named pipe, which holds a thread of the pool for ever, or a link to what the worker
 * may read or write and the build may not. Paths are relative to a folder that the stage vouches for.
 */

/** The most that one of uv's files of requirements may have. */
const MAX_FILE_BYTES = 16 * 1024 * 1024

/** Where a folder lies. Throws BuildFailed where it is none, or a link leads elsewhere on the way to it. */
export async function folderIn(root: string, path: string): Promise<string> {
  const place = join(await realpath(root), path)
  const found = await realpath(place).catch(nullIfDamaged)
  if (found !== place || !(await lstat(place)).isDirectory()) throw replaced(path, 'a folder')
  return place
}

/** Puts a file there, whatever was there before. */
export async function writeIn(root: string, path: string, content: string): Promise<void> {
  const place = join(await folderIn(root, dirname(path)), basename(path))
  await removeTree(place)
  await writeFile(place, content, { flag: 'wx' })
}

export async function readIn(root: string, path: string): Promise<string> {
  const file = await openRegular(join(await folderIn(root, dirname(path)), basename(path)), constants.O_RDONLY)
  if (file === null) throw replaced(path, 'a file that can be read')
  try {
    if ((await file.stat()).size > MAX_FILE_BYTES) throw replaced(path, `a file of at most ${MAX_FILE_BYTES} bytes`)
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

function replaced(path: string, wanted: string): CoppiceError {
  const message = `${path} is not ${wanted} any more after the build: what is built may not put something else there`
  return new CoppiceError('BuildFailed', message, { field: path, step: 'keep what was built' })
}
