import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R6.2',
  words: 'a draining instance still gets new requests',
  edits: [
    {
      file: 'router/routes.ts',
      find: `if (entry.state === 'serving') {`,
      replace: 'if (entry.state !== undefined) {',
    },
  ],
  tests: { files: ['test/router/control-plane.test.ts'] },
}
