import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.2',
  words: 'an instance that lets a question wait is ejected',
  edits: [
    {
      file: 'router/watched.ts',
      find: "return waits ? 'busy' : 'well'",
      replace: "return waits ? 'silent' : 'well'",
    },
  ],
  tests: { files: ['test/router/busy.test.ts'], name: 'R12\\.2 for 6 s' },
}
