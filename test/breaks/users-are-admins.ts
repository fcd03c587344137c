import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R2.1',
  words: 'every holder of a token may do what admins may',
  edits: [{ file: 'control/auth.ts', find: `if (role === 'admin') return next()`, replace: `if (role) return next()` }],
  tests: { files: ['test/control/workspace.test.ts'] },
}
