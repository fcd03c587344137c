import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R14.2',
  words: 'an inventory is migrated without a copy of what it was',
  edits: [
    {
      file: 'store/migrations.ts',
      find: 'if (from > 0 && from < migrations.length) backUp?.(from)',
      replace: '',
    },
  ],
  tests: { files: ['store/migrations.test.ts'] },
}
