import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.1',
  words: 'a connection that is refused is not tried elsewhere',
  edits: [
    {
      file: 'router/forward.ts',
      find: "        this.retry(endpoint)\n        return\n      case 'unanswered':",
      replace: "        this.refuse(REFUSALS.upstreamFailed)\n        return\n      case 'unanswered':",
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'SIGKILL of one instance' },
  says: 'lost',
}
