import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R11.4',
  words: 'the naming key is passed on to the app',
  edits: [
    {
      file: 'router/request-head.ts',
      find: 'head.namingKey ??= value',
      replace: 'head.namingKey ??= value; out.push(name, value)',
    },
  ],
  tests: { files: ['test/router/naming.test.ts'] },
}
