import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.9',
  words: 'a crashing instance is started again every second, for ever',
  edits: [
    {
      file: 'domain/back-off.ts',
      find: '2 ** (crashes - 1)',
      replace: '1',
    },
  ],
  tests: { files: ['domain/back-off.test.ts'] },
}
