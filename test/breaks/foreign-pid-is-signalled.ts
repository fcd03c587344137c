import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R11.1',
  words: 'the load test signals whoever has the pid that the API names',
  edits: [
    {
      file: 'loadtest/runner/instance-processes.ts',
      find: 'if (!tagged.includes(pid)) return []',
      replace: '',
    },
  ],
  tests: { files: ['loadtest/runner/actions.test.ts'] },
}
