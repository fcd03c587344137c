import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R8.3',
  words: 'a session that begins or moves after a rebalance may get a key which that rebalance sheds',
  edits: [
    {
      file: 'domain/affinity.ts',
      find: 'return pickSlot(digest, slots) === slot && (rebalance === null || !isShed(digest, slot, rebalance))',
      replace: 'return pickSlot(digest, slots) === slot',
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'the sessions of an instance that is lost' },
  says: 'moved_needlessly',
}
