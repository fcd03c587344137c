import { type Logger, pino } from 'pino'
import { type LineOutput, type LossLine, standardOutput } from './line-output.ts'

export type { Logger }

export type LogOptions = {
  /** In every line: which process speaks. */
  base: Record<string, unknown>
  /** Of pino: debug, info (default), warn, error, silent. */
  level?: string
}

/**
 * Structured lines on standard output, which the supervisor makes a file of bounded size. All processes of the
 * platform make their logger here, because none of them may end, or hang at its end, for a line that cannot be
 * written; pino's own output does both.
 */
export function createLogger(options: LogOptions, output: LineOutput = logOutput(options.base)): Logger {
  const { base, level = 'info' } = options
  return pino({ base, level, timestamp: pino.stdTimeFunctions.isoTime }, output)
}

/** For a process that writes other lines than those of its logger too: both go one way, and are counted together. */
export const logOutput = (base: Record<string, unknown>): LineOutput => standardOutput(lossLine(base))

const lossLine =
  (base: Record<string, unknown>): LossLine =>
  (lost, why) =>
    JSON.stringify({
      level: pino.levels.values.warn,
      time: new Date().toISOString(),
      ...base,
      lost,
      msg: `${lost} log ${lost === 1 ? 'line was' : 'lines were'} lost here: ${why}`,
    })
