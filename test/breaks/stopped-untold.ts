import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.2',
  words: 'an instance that a signal has stopped is never told in the table',
  edits: [
    {
      file: 'runtime/ailment.ts',
      find: "  if (seen.suspended) return { kind: 'suspended' }\n",
      replace: '',
    },
  ],
  tests: { files: ['test/sagas/faults.test.ts'], name: 'R12\\.2 is not up in the table within 3 s of SIGSTOP' },
}
