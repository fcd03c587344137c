import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R10.2',
  words: 'a router that signs off is forgotten, with the table that it will come back with',
  edits: [
    {
      file: 'router/control-link.ts',
      find: 'if (this.parts.keepsTable())',
      replace: "if (this.parts.name === '')",
    },
  ],
  tests: { files: ['test/router/control-plane.test.ts'], name: 'signs off when it is stopped' },
}
