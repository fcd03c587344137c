import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R12.5',
  words: 'old instances are stopped before the routers know',
  edits: [
    {
      file: 'activities/running.ts',
      find: '        if (complete) {',
      replace: '        if (complete || version > 0) {',
    },
    {
      file: 'activities/running.ts',
      find: "        if ((await store.routers.inFlight(instance.id, options.version)) === 0) return 'drained'",
      replace: "        if (instance.id !== '') return 'drained'",
    },
  ],
  tests: { files: ['test/sagas/crashes.test.ts'], name: 'R12\\.5 of the control plane' },
}
