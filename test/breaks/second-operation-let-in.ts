import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R10.3',
  words: 'a second operation on an app is let in',
  edits: [
    {
      file: 'store/admissions.ts',
      find: '    if (app.operation !== null && app.operation !== operation) throw await this.#inProgress(tx, app)\n',
      replace: '',
    },
  ],
  tests: { files: ['store/transitions.test.ts'], name: 'R10\\.3' },
}
