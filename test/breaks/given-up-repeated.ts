import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.2',
  words: 'what was in flight when an instance was given up is sent again',
  edits: [
    {
      file: 'router/attempt.ts',
      find: '    this.kept = true',
      replace: '    this.kept = false',
    },
  ],
  tests: { files: ['test/router/busy.test.ts'], name: 'R12\\.2 that dies after it was given up' },
}
