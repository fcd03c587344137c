import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.10',
  words: 'a router that is gone is waited for without end',
  edits: [
    {
      file: 'store/routers.ts',
      find: '>= this.#leaseMs)',
      replace: '>= 1e12)',
    },
  ],
  tests: { files: ['store/routers.test.ts'] },
}
