import { pino } from 'pino'
import { confinement } from './confinement.ts'

/** For tests: what to put before a program so that permissions hold it, also where we are root. */
export const heldByPermissions = (): Promise<string[]> =>
  confinement({
    uid: process.getuid?.() ?? -1,
    platform: process.platform,
    path: process.env.PATH ?? '',
    logger: pino({ level: 'silent' }),
  })
