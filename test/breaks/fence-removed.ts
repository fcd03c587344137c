import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R10.2',
  words: 'an activity of an operation that lost the app may still write',
  edits: [
    {
      file: 'store/operations.ts',
      find: `if (owner === id) return
`,
      replace: `if (owner !== undefined) return
`,
    },
  ],
  tests: { files: ['store/transitions.test.ts'], name: 'keeps an activity that lives on' },
}
