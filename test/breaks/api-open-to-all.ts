import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R13.5',
  words: 'the API listens on all interfaces by default',
  edits: [
    {
      file: 'control/options.ts',
      find: `'127.0.0.1:7400'`,
      replace: `'0.0.0.0:7400'`,
    },
  ],
  tests: { files: ['control/options.test.ts'] },
}
