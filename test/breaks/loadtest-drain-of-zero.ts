import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R6.2',
  words: 'an instance that leaves is stopped with requests in flight',
  edits: [
    {
      file: 'activities/running.ts',
      find: 'const deadline = elapsed() + options.timeoutMs',
      replace: 'const deadline = elapsed() - options.timeoutMs',
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'a deployment costs no request' },
  says: 'lost',
}
