import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R10.2',
  words: 'a port is used again while a router may still know its old owner',
  edits: [
    {
      file: 'store/ports.ts',
      find: "      .where('rests_until_version', '<=', everywhere)",
      replace: "      .where('rests_until_version', '<=', everywhere + 1_000_000)",
    },
  ],
  tests: { files: ['store/routers.test.ts'], name: 'rest until every router' },
}
