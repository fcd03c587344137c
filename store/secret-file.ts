import { randomUUID } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'

/**
 * What the file holds, which is made if it is missing; its mode is 0600 always. Written aside and linked: processes that
 * start at once agree on one secret, and none reads half of it, whoever is killed in between.
 */
export function readOrMakeSecret(file: string, draw: () => string): string {
  const text = read(file) ?? make(file, draw())
  protect(file)
  return text
}

/** The same of a file that nobody may make anew; null when it is missing. */
export function readSecret(file: string): string | null {
  const text = read(file)
  if (text !== null) protect(file)
  return text
}

function protect(file: string): void {
  chmodSync(file, 0o600)
  sweep(file)
}

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

const DRAFT = '.new'

function make(file: string, secret: string): string {
  const aside = `${file}.${randomUUID()}${DRAFT}`
  try {
    const fd = openSync(aside, 'wx', 0o600)
    try {
      writeFileSync(fd, secret)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    linkSync(aside, file)
  } catch (error) {
    // Another process was first, and has perhaps removed our draft, too.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EEXIST' && code !== 'ENOENT') throw error
  } finally {
    rmSync(aside, { force: true })
  }
  return readFileSync(file, 'utf8')
}

/**
 * One that was killed leaves its draft, which may be the secret itself under a second name. Where there is a secret
 * nobody needs a draft any more.
 */
function sweep(file: string): void {
  const prefix = `${basename(file)}.`
  try {
    for (const name of readdirSync(dirname(file))) {
      const middle = name.slice(prefix.length, -DRAFT.length)
      // Older programs had their pid there.
      if (name === `${prefix}${middle}${DRAFT}` && /^(\d+|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.test(middle))
        rmSync(join(dirname(file), name), { force: true })
    }
  } catch {
    // A token file may lie in a folder that is not ours to list or to write; then we have made no draft there.
  }
}
