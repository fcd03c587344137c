import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R1.6',
  words: 'all requests of a connection are begun at once',
  edits: [
    {
      file: 'router/client-connection.ts',
      find: 'if (!underWay && socket.writable) return',
      replace: 'if (socket.writable) return',
    },
  ],
  tests: { files: ['test/router/pipelining.test.ts'], name: 'R1\\.6' },
}
