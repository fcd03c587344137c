import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R3.6',
  words: 'the trees of apps stay in the data directory, below the packages of the clone',
  edits: [
    {
      file: 'runtime/ground.ts',
      find: 'groundOf(home) ?? (packagesAbove(home) === null ? home : await makeGround(home, options))',
      replace: 'groundOf(home) ?? (Date.now() > 0 ? home : await makeGround(home, options))',
    },
  ],
  tests: { files: ['test/security/undeclared-packages.test.ts'], name: 'R3\\.6' },
}
