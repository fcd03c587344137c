import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R6.2',
  words: 'an instance that leaves is stopped at once',
  edits: [
    {
      file: 'activities/running.ts',
      find: 'const deadline = elapsed() + options.timeoutMs',
      replace: 'const deadline = elapsed() - options.timeoutMs',
    },
  ],
  tests: { files: ['test/sagas/deploy.test.ts'], name: 'R6\\.2' },
}
