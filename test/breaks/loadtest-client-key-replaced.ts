import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R8.1',
  words: 'a key that a client chose is replaced when its session moves',
  edits: [
    {
      file: 'router/identify.ts',
      find: 'exchange.minted = headerKey === null && isMinted(exchange.key)',
      replace: 'exchange.minted = headerKey === null',
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'the sessions of an instance that is lost' },
  says: 'key_replaced',
}
