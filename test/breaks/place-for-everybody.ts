import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R2.3',
  words: 'the limit of scaled apps is not looked at',
  edits: [
    {
      file: 'store/workspace.ts',
      find: '    if (used >= maxScaledApps)',
      replace: '    if (used >= maxScaledApps + 1000)',
    },
  ],
  tests: { files: ['store/workspace.test.ts'] },
}
