import { CoppiceError } from '../domain/errors.ts'

/** What the system is out of when it starts no further process, and may have again in a moment. */
const OUT_OF: Record<string, string> = {
  EMFILE: 'no file descriptor is left in this process',
  ENFILE: 'no file descriptor is left on this machine',
  EAGAIN: 'this user may start no more processes',
  ENOMEM: 'no memory is left',
}

/**
 * What a child process tells by its event `error` when there never was one. Out of descriptors, Node gives it no streams
 * either (`child.stdio` is undefined).
 */
export function startFailure(error: NodeJS.ErrnoException): CoppiceError {
  const lack = OUT_OF[error.code ?? '']
  const message = `could not start a process: ${lack === undefined ? '' : `${lack}: `}${error.message}`
  return new CoppiceError(lack === undefined ? 'Internal' : 'Unavailable', message, {}, { cause: error })
}
