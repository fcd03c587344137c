import { asDiskFull } from '../domain/disk-full.ts'

/** Rethrows; a full disk becomes DiskFull, which sagas wait out (R12.8). */
export function diskFull(error: unknown): never {
  throw asDiskFull(error) ?? error
}

/** The same, as a tool says it in its output. */
export function saysDiskFull(lines: readonly string[]): boolean {
  return lines.some((line) => /No space left on device|ENOSPC|Disk quota exceeded|EDQUOT/.test(line))
}
