import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R6.1',
  words: 'one of the old instances is stopped before the new ones serve',
  edits: [
    {
      file: 'workflows/roll-out.ts',
      find: "  if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('cancelled before the pivot')\n",
      replace: `  if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('cancelled before the pivot')
  for (const one of plan.remove.slice(1))
    await afterPivot.stopInstance.executeWithOptions({ summary: one.id }, [plan.operation, one])
`,
    },
  ],
  tests: { files: ['test/sagas/changes.test.ts'], name: 'R6\\.1 R4\\.1' },
}
