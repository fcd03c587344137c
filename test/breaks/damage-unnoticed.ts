import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R4.3',
  words: 'a damaged artifact is used as it is',
  edits: [
    {
      file: 'runtime/artifacts/sealed-store.ts',
      find: `if (verdict === null || verdict === 'damaged') return false`,
      replace: 'if (verdict === null) return false',
    },
  ],
  tests: { files: ['runtime/artifacts/sealed-store.test.ts', 'test/builders/python.test.ts'] },
}
