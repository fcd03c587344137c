import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R10.6',
  words: 'a repair undoes what has passed its pivot',
  edits: [
    {
      file: 'workflows/repair.ts',
      find: "if (lost.phase === 'committed' && lost.plan !== null)",
      replace: "if (lost.phase === 'compensable' && lost.plan !== null)",
    },
  ],
  tests: { files: ['test/sagas/crashes.test.ts'], name: 'R10\\.6 at (publish|drain)\\.before' },
}
