/** Errors of the router itself, not of the instance: they eject nobody, and nobody is asked because of them (D8). */
const OWN_ERRORS = new Set(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM'])

export const codeOf = (error: Error): string => (error as NodeJS.ErrnoException).code ?? ''

export const isOwnError = (error: Error): boolean => OWN_ERRORS.has(codeOf(error))
