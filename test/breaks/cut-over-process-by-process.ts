import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R3.4',
  words: 'each process of a router takes up a deployment when it comes to it',
  edits: [
    {
      file: 'router/fleet.ts',
      find: 'const apps = ready.length > 1 || awaitsWord ?',
      replace: 'const apps = ready.length > 64 ?',
    },
  ],
  tests: { files: ['test/router/cut-over.test.ts'] },
}
