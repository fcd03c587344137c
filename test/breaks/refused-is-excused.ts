import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.1',
  words: 'a request that the router gave to nobody may be lost near a fault',
  edits: [
    {
      file: 'loadtest/check/delivery.ts',
      find: 'if (isWritten && where.length === 0) return false',
      replace: '',
    },
  ],
  tests: { files: ['loadtest/check/delivery.test.ts'] },
}
