import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R8.3',
  words: 'a rebalance moves sessions beyond the share of a slot',
  edits: [
    {
      file: 'domain/sessions.ts',
      find: 'if (moved + n > excess) break',
      replace: 'if (moved > excess) break',
    },
  ],
  tests: { files: ['domain/sessions.test.ts', 'test/sagas/sessions.test.ts'] },
}
