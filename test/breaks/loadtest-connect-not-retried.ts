import type { Break } from './break.ts'

/**
 * A router learns within milliseconds that an instance is dead, and in most runs the load test has sent it nothing by then.
 * So this one does not learn it: then only that each request is tried elsewhere keeps it from being lost.
 */
export const broken: Break = {
  rule: 'R12.1',
  words: 'a connection that is refused is not tried elsewhere, and goes on to be tried where it is refused',
  edits: [
    {
      file: 'router/forward.ts',
      find: "        this.retry(endpoint)\n        return\n      case 'unanswered':",
      replace: "        this.refuse(REFUSALS.upstreamFailed)\n        return\n      case 'unanswered':",
    },
    {
      file: 'router/watched.ts',
      find: "    if (!this.up || this.refusedSince !== null) return 'dead'\n",
      replace: '',
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'SIGKILL of one instance' },
  says: 'lost',
}
