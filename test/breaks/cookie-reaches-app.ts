import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R7.4',
  words: 'the routing cookie is passed on to the app',
  edits: [
    {
      file: 'router/router-cookie.ts',
      find: 'found.rest = []',
      replace: 'found.rest = [...cookies]',
    },
  ],
  tests: { files: ['test/router/affinity.test.ts'] },
}
