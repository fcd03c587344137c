import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R7.1',
  words: 'the router ignores the cookie that it has set',
  edits: [
    {
      file: 'router/router-cookie.ts',
      find: 'if (name === ROUTER_COOKIE) found.key ??= keyOf(pair)',
      replace: 'if (name === ROUTER_COOKIE) continue',
    },
  ],
  tests: { files: ['test/router/affinity.test.ts'] },
}
