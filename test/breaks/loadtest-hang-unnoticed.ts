import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.2',
  words: 'an instance that hangs is never ejected',
  edits: [
    {
      file: 'router/watched.ts',
      find: "if (!this.up || this.refusedSince !== null) return 'dead'",
      replace: "if (this.refusedSince !== null) return 'dead'",
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'SIGKILL of one instance' },
  says: 'slow_failover',
}
