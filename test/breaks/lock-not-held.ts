import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R14.1',
  words: 'the lock of a data directory is given to everybody',
  edits: [
    {
      file: 'store/process-lock.ts',
      find: 'BEGIN EXCLUSIVE',
      replace: 'BEGIN DEFERRED',
    },
  ],
  tests: { files: ['store/process-lock.test.ts'] },
}
