import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R3.7',
  words: 'the history of an app tells what its secrets were set to',
  edits: [
    {
      file: 'control/secrets-api.ts',
      find: 'await store.secrets.set(name, secret, value)',
      replace: `await store.secrets.set(name, secret, value)
    await store.events.add({ app: name, kind: 'secret', message: value })`,
    },
  ],
  tests: { files: ['test/control/workspace.test.ts', 'test/sagas/planted-secrets.test.ts'] },
}
