import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R3.4',
  words: 'each router takes up a deployment when it comes to it',
  edits: [
    {
      file: 'control/routers-api.ts',
      find: 'cutOvers(sent, current.table).length > 0',
      replace: 'cutOvers(sent, sent).length > 0',
    },
  ],
  tests: { files: ['test/router/routers-together.test.ts'] },
}
