import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R7.4',
  words: 'an app sets the routing cookie of its own users and of its neighbour on loopback',
  edits: [
    {
      file: 'router/response-head.ts',
      find: 'if (!this.cookies.setBy(value)) out.push(name, value)',
      replace: 'out.push(name, value)',
    },
  ],
  tests: { files: ['test/router/answers.test.ts'] },
}
