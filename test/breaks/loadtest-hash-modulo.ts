import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R8.2',
  words: 'sessions are spread by a remainder, so that a lost slot moves those of the others too',
  edits: [
    {
      file: 'router/choose.ts',
      find: 'const home = pickSlot(digest, app.slots)',
      replace: 'const live = app.slots.filter(app.isUsable)\n  const home = live[digest.a % live.length] ?? -1',
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'the sessions of an instance that is lost' },
  says: 'moved_needlessly',
}
