import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R5.1',
  words: 'a conversion stops the old instance before the new one serves',
  edits: [
    {
      file: 'workflows/roll-out.ts',
      find: "  if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('cancelled before the pivot')\n",
      replace: `  if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('cancelled before the pivot')
  for (const one of plan.remove) await afterPivot.stopInstance.executeWithOptions({ summary: one.id }, [plan.operation, one])
`,
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'a conversion to a scaled app' },
  says: 'lost',
}
