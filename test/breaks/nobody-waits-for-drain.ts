import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R9.3',
  words: 'a stream goes on writing to a client that does not read',
  edits: [
    {
      file: 'control/event-stream.ts',
      find: 'if (response.write(piece)) return null',
      replace: 'if (response.write(piece) || piece.length > 0) return null',
    },
  ],
  tests: { files: ['test/control/followers.test.ts'], name: 'R9\\.3 .*does not read' },
}
