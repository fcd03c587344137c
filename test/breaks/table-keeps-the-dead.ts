import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.2',
  words: 'the table goes on to say that an instance is up which the worker has seen dead or stopped',
  edits: [
    {
      file: 'store/routes.ts',
      find: "observed === 'running'",
      replace: "observed !== 'pending'",
    },
  ],
  tests: { files: ['store/routes.test.ts'], name: 'R12\\.2' },
}
