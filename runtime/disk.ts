import { CoppiceError } from '../domain/errors.ts'

const FULL = new Set(['ENOSPC', 'EDQUOT'])

/** Rethrows; a full disk becomes DiskFull, which sagas wait out (R12.8). */
export function diskFull(error: unknown): never {
  if (FULL.has((error as NodeJS.ErrnoException | undefined)?.code ?? '')) {
    throw new CoppiceError('DiskFull', 'The disk is full', {}, { cause: error })
  }
  throw error
}

/** The same, as a tool says it in its output. */
export function saysDiskFull(lines: readonly string[]): boolean {
  return lines.some((line) => /No space left on device|ENOSPC|Disk quota exceeded|EDQUOT/.test(line))
}
