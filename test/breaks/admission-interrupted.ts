import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.7',
  words: 'a cancel ends the workflow of an operation while it is being admitted',
  edits: [
    {
      file: 'workflows/operation.ts',
      find: 'const plan = await CancellationScope.nonCancellable(() =>',
      replace: 'const plan = await CancellationScope.cancellable(() =>',
    },
  ],
  tests: { files: ['test/sagas/crashes.test.ts'], name: 'at admit.recorded, which is not interrupted' },
}
