import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.8',
  words: 'a log line that cannot be written ends the process',
  edits: [
    {
      file: 'logging/logger.ts',
      find: 'timestamp: pino.stdTimeFunctions.isoTime }, output)',
      replace: 'timestamp: pino.stdTimeFunctions.isoTime }, output.lost < 0 ? output : pino.destination(1))',
    },
  ],
  tests: { files: ['test/start/full-output.test.ts'], name: 'R12\\.8 the worker process .*because the disk is full' },
}
