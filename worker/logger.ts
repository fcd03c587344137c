import { createLogger as createSharedLogger, type Logger as Shared } from '../logging/logger.ts'

export type Logger = Pick<Shared, 'debug' | 'info' | 'warn' | 'error'>

export const createLogger = (level: string): Shared => createSharedLogger({ base: { process: 'worker' }, level })
