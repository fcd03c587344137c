import type { Break } from './break.ts'

export const broken: Break = {
  rule: 'R3.4',
  words: 'the old instances are stopped before the new ones serve',
  edits: [
    {
      file: 'workflows/roll-out.ts',
      find: "  if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('cancelled before the pivot')\n",
      replace:
        "  if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('cancelled before the pivot')\n  for (const one of plan.remove) await afterPivot.stopInstance.executeWithOptions({ summary: one.id }, [plan.operation, one])\n",
    },
  ],
  tests: { files: ['test/loadtest/scenarios.test.ts'], name: 'a deployment costs no request' },
  says: 'lost',
}
