import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R7.4',
  words: 'an app loses its own cookies whose names begin like the router’s',
  edits: [
    {
      file: 'router/router-cookie.ts',
      find: 'name.startsWith(TWIN_PREFIX) && this.isApp(name.slice(TWIN_PREFIX.length))',
      replace: 'name.startsWith(TWIN_PREFIX)',
    },
  ],
  tests: { files: ['test/router/answers.test.ts'] },
}
