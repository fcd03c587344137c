import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.1',
  words: 'a request that was sent and not answered is not tried again',
  edits: [
    {
      file: 'router/forward.ts',
      find: 'exchange.runs < MAX_RUNS',
      replace: 'exchange.runs < 1',
    },
  ],
  tests: { files: ['test/router/failover.test.ts'] },
}
