import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R8.2',
  words: 'a change of the number of instances replaces those that could stay',
  edits: [
    {
      file: 'domain/plan.ts',
      find: 'if (computeSize !== app.computeSize) return',
      replace: "if (computeSize !== '') return",
    },
  ],
  tests: { files: ['store/workspace.test.ts'], name: 'R8\\.2 leaves those' },
}
