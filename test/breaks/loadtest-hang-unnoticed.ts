import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.2',
  words: 'an instance that hangs is never ejected',
  edits: [
    {
      file: 'router/checks.ts',
      find: "if (verdict === 'refused' || watched.failures >= 2) watched.failing = true",
      replace: "if (verdict === 'refused') watched.failing = true",
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'SIGKILL of one instance' },
  says: 'slow_failover',
}
