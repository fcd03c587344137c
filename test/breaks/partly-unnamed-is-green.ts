import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R11.4',
  words: 'a run is fit as long as one answer says who gave it',
  edits: [
    {
      file: 'loadtest/check/fitness.ts',
      find: 'count > of.length / 100',
      replace: 'count > 0 && count === of.length',
    },
  ],
  tests: { files: ['loadtest/check/judge.test.ts'] },
}
