import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.7',
  words: 'a cancel ends the workflow of an operation while it is being admitted',
  edits: [
    {
      file: 'workflows/proxies.ts',
      find: `  retry: UNTIL_DONE,
  // A transaction is not interrupted, and who cancels has to know what it has written. The default would not wait: a cancel
  // during \`admit\` ended the workflow at once, and what was admitted was left to a repair.
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
`,
      replace: '  retry: UNTIL_DONE,\n',
    },
  ],
  tests: { files: ['test/sagas/crashes.test.ts'], name: 'at admit.recorded, which is not interrupted' },
}
