import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R13.7',
  words: 'whatever listens takes every name for its own, also one that a foreign DNS makes lead here',
  edits: [
    {
      file: 'domain/web-origin.ts',
      find: `return name === 'localhost' ||`,
      replace: `return name !== '' || name === 'localhost' ||`,
    },
  ],
  tests: { files: ['domain/web-origin.test.ts', 'test/control/web-pages.test.ts', 'test/router/web-pages.test.ts'] },
}
