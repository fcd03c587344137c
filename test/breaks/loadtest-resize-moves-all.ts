import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R8.2',
  words: 'sessions are spread by a remainder, so that a change of the number of instances moves those that could stay',
  edits: [
    {
      file: 'router/choose.ts',
      find: 'const home = pickSlot(digest, app.slots)',
      replace: 'const home = app.slots[digest.a % app.slots.length] ?? -1',
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'a change of the number of instances' },
  says: 'moved_needlessly',
}
