import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R10.1',
  words: 'new instances serve as soon as they are written down, before the pivot',
  edits: [
    {
      file: 'store/instances.ts',
      find: `role: 'standby',`,
      replace: `role: 'serving',`,
    },
  ],
  tests: { files: ['store/transitions.test.ts'] },
}
