import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R13.7',
  words: 'the HTTP API of the embedded Temporal server takes whatever a web page sends it',
  edits: [
    {
      file: 'scripts/temporal-server.ts',
      find: `  'frontend.httpAllowedHosts=[]',\n`,
      replace: '',
    },
  ],
  tests: { files: ['scripts/temporal-server.test.ts', 'test/security/web-pages.test.ts'] },
}
