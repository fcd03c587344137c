import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R7.2',
  words: 'the router ignores the cookie of API clients, and the load test sees it',
  edits: [
    {
      file: 'router/router-cookie.ts',
      find: 'if (name === ROUTER_COOKIE) found.key ??= keyOf(pair)',
      replace: 'if (name === ROUTER_COOKIE) continue',
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'every client stays' },
  says: 'affinity_broken',
}
