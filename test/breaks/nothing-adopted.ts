import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R14.1',
  words: 'what a killed starter left is started a second time',
  edits: [
    {
      file: 'scripts/stack/supervised.ts',
      find: 'if (!(await isAlive(this.#table, previous.pid, previous.startTime))) return false',
      replace: 'if (previous.pid > 0) return false',
    },
  ],
  tests: { files: ['test/start/supervision.test.ts'], name: 'is adopted by the next one' },
}
