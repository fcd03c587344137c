/** Who may call the API: whoever holds the token of the data directory, or one that an admin made (R13.5, R2.1). */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import type { RequestHandler, Response } from 'express'
import { CoppiceError } from '../domain/errors.ts'
import type { Role } from '../domain/records.ts'
import { readOrMakeSecret } from '../store/secret-file.ts'
import type { Tokens } from '../store/tokens.ts'

/** Whoever holds the token of the data directory, as it stands in `creator` and `startedBy`. */
export const ADMIN = 'admin'

/** `name` is the token's, as it stands in `creator` and `startedBy`. */
export type Principal = { name: string; role: Role }

/**
 * The token of `file`, made if it is missing. Mode 0600 always: who can read it can run programs here.
 *
 * @throws CoppiceError InvalidInput when the file holds nothing that could be a token.
 */
export function readOrMakeToken(file: string): string {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  const token = readOrMakeSecret(file, () => `${randomBytes(32).toString('base64url')}\n`).trim()
  if (!/^[\x21-\x7e]{16,}$/.test(token))
    throw new CoppiceError('InvalidInput', `${file} must hold a token of at least 16 visible ASCII characters`, {
      field: 'token-file',
    })
  return token
}

/** Lets nothing pass without `Authorization: Bearer <token>`, and notes whose token it is. */
export function authenticate(adminToken: string, tokens: Pick<Tokens, 'holder'>): RequestHandler {
  // Digests have one length, so that the comparison tells nothing about the token's.
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  const expected = digest(adminToken)
  return async (request, response, next) => {
    const given = /^bearer +(\S+) *$/i.exec(request.get('authorization') ?? '')?.[1]
    const principal =
      given === undefined
        ? null
        : timingSafeEqual(digest(given), expected)
          ? { name: ADMIN, role: 'admin' as const }
          : await tokens.holder(given)
    if (principal !== null) {
      response.locals.principal = principal
      return next()
    }
    response.set('WWW-Authenticate', 'Bearer')
    throw new CoppiceError(
      'Unauthenticated',
      given === undefined
        ? 'The request carries no bearer token'
        : 'The bearer token is not one of this platform, or not any more',
    )
  }
}

/** Who makes the request; there is always one behind `authenticate`. */
export const principalOf = (response: Response): Principal => response.locals.principal as Principal

/** Lets only admins pass. */
export const requireAdmin: RequestHandler = (request, response, next) => {
  const { name, role } = principalOf(response)
  if (role === 'admin') return next()
  throw new CoppiceError(
    'PermissionDenied',
    `${request.method} ${request.baseUrl}${request.path} is for admins; ${name} is none`,
  )
}
