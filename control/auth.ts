/** Who may call the API: whoever holds the token (R13.5). Users and their rights come later. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import type { RequestHandler } from 'express'
import { CoppiceError } from '../domain/errors.ts'

/** The one principal there is so far, as it stands in `creator` and `startedBy`. */
export const ADMIN = 'admin'

/**
 * The token of `file`, made if it is missing. Mode 0600 always: who can read it can run programs here.
 *
 * @throws CoppiceError InvalidInput when the file holds nothing that could be a token.
 */
export function readOrMakeToken(file: string): string {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  const text = read(file) ?? make(file)
  const token = text.trim()
  if (!/^[\x21-\x7e]{16,}$/.test(token))
    throw new CoppiceError('InvalidInput', `${file} must hold a token of at least 16 visible ASCII characters`, {
      field: 'token-file',
    })
  chmodSync(file, 0o600)
  return token
}

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** Written aside and linked: two processes that start at once agree on one token, and none reads half of it. */
function make(file: string): string {
  const aside = `${file}.${process.pid}.new`
  const fd = openSync(aside, 'wx', 0o600)
  try {
    writeSync(fd, `${randomBytes(32).toString('base64url')}\n`)
    fsyncSync(fd)
    linkSync(aside, file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    closeSync(fd)
    rmSync(aside)
  }
  return readFileSync(file, 'utf8')
}

/** Lets nothing pass without `Authorization: Bearer <token>`. */
export function requireToken(token: string): RequestHandler {
  // Digests have one length, so that the comparison tells nothing about the token's.
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  const expected = digest(token)
  return (request, response, next) => {
    const given = /^bearer +(\S+) *$/i.exec(request.get('authorization') ?? '')?.[1]
    if (given !== undefined && timingSafeEqual(digest(given), expected)) return next()
    response.set('WWW-Authenticate', 'Bearer')
    next(
      new CoppiceError(
        'Unauthenticated',
        given === undefined
          ? 'The request carries no bearer token'
          : 'The bearer token is not the one of this platform',
      ),
    )
  }
}
