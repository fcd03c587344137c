import { createHash, timingSafeEqual } from 'node:crypto'

/**
 * Whether this is the key whose digest stands in the route table. Digests are compared, in constant time: how long that
 * takes tells nothing of the key.
 */
export function opensNames(key: string, digest: string | null): boolean {
  return digest !== null && timingSafeEqual(createHash('sha256').update(key).digest(), Buffer.from(digest, 'hex'))
}
