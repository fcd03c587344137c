import { type Logger as Pino, pino } from 'pino'

export type Logger = Pick<Pino, 'debug' | 'info' | 'warn' | 'error'>

/** Structured lines on stdout; the supervisor writes them to a bounded file (DESIGN D16). */
export const createLogger = (level: string): Pino =>
  pino({ level, base: { process: 'worker' }, timestamp: pino.stdTimeFunctions.isoTime })
