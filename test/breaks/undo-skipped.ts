import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R3.3',
  words: 'a saga that fails undoes nothing',
  edits: [
    {
      file: 'workflows/saga.ts',
      find: 'this.#compensations.toReversed()',
      replace: 'this.#compensations.slice(0, 0)',
    },
  ],
  tests: { files: ['test/sagas/failed-deploy.test.ts'] },
}
