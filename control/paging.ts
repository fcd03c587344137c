import { z } from 'zod'
import { CoppiceError } from '../domain/errors.ts'

/** `page_size` and `page_token` of a list. The token is where the last page ended, so nothing shifts between pages. */
export const pageQuery = {
  page_size: z.coerce.number().int().min(0).max(1000).optional(),
  page_token: z.string().max(512).optional(),
}

const DEFAULT_PAGE = 100

export type PageRequest = { page_size?: number; page_token?: string }

/** How many to read: one more than the page, which tells whether there is another. 0 is the default, as in the product. */
export const pageSize = (page: PageRequest): number => page.page_size || DEFAULT_PAGE

export function pageStart(page: PageRequest): string | undefined {
  // Some clients send an empty token for the first page.
  if (page.page_token === undefined || page.page_token === '') return undefined
  const start = Buffer.from(page.page_token, 'base64url').toString('utf8')
  if (pageToken(start) !== page.page_token)
    throw new CoppiceError('InvalidInput', 'page_token: is not one that this API gave', { field: 'page_token' })
  return start
}

export const pageToken = (last: string): string => Buffer.from(last).toString('base64url')

/** Cuts what was read with `limit: size + 1` to a page. */
export function toPage<T>(rows: T[], size: number, place: (row: T) => string): { page: T[]; next?: string } {
  const page = rows.slice(0, size)
  const last = page.at(-1)
  return rows.length > size && last !== undefined ? { page, next: pageToken(place(last)) } : { page }
}
