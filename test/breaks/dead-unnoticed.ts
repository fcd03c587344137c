import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.2',
  words: 'the router does not look at who is dead in the table',
  edits: [
    {
      file: 'router/watched.ts',
      find: "if (!this.up || this.refusedSince !== null) return 'dead'",
      replace: "if (this.refusedSince !== null) return 'dead'",
    },
  ],
  tests: { files: ['test/router/failover.test.ts'], name: 'R12\\.2 an instance that the table calls dead' },
}
