import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.2',
  words: 'an instance is started again for a silence that has ended since',
  edits: [
    {
      file: 'runtime/instance-actor.ts',
      find: 'if (this.#silentSince !== ailment.since) return this.#tend(record, seen)',
      replace: '',
    },
  ],
  tests: {
    files: ['test/conformance/instances.test.ts'],
    name: 'is not started again for a silence',
  },
}
