import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R11.4',
  words: 'whatever key opens who answers',
  edits: [
    {
      file: 'router/naming.ts',
      find: 'digest !== null && ',
      replace: 'digest !== null || ',
    },
  ],
  tests: { files: ['test/router/naming.test.ts'] },
}
