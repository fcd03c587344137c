import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R1.4',
  words: 'a scaled app that listens on loopback only passes its health check',
  edits: [
    {
      file: 'runtime/health.ts',
      find: `found !== null && options.spec.mode === 'scaled'`,
      replace: `found === '' && options.spec.mode === 'scaled'`,
    },
  ],
  tests: { files: ['test/conformance/health.test.ts'] },
}
