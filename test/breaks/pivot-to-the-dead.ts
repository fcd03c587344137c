import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R3.3',
  words: 'the pivot does not look whether the new instances still run',
  edits: [
    {
      file: 'store/transitions.ts',
      find: `if (row.observed === 'running' && end === undefined) continue
`,
      replace: `if (row.observed !== undefined) continue
`,
    },
  ],
  tests: { files: ['store/transitions.test.ts', 'test/sagas/failed-deploy.test.ts'], name: 'R3.3' },
}
