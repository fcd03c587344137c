import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R13.8',
  words: 'operations wait for a router that cannot apply the current table',
  edits: [
    {
      file: 'store/routers.ts',
      find: '(report.refused !== null && version < current)',
      replace: '(report.refused !== null && version < 0)',
    },
  ],
  tests: { files: ['store/routers.test.ts'], name: 'R13\\.8' },
}
