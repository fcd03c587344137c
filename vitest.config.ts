import { defineConfig } from 'vitest/config'

/**
 * `unit`: beside the code, no outside tools, ≤ 30 s in all (DESIGN D20). `integration`: real processes, so few at a
 * time, and with deadlines that hold on a loaded machine with two cores.
 */
const INTEGRATION = 'test/**/*.test.ts'

const config = defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['**/*.test.ts'],
          exclude: ['**/node_modules/**', 'examples/**', '.coppice*/**', INTEGRATION],
          testTimeout: 10_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'integration',
          include: [INTEGRATION],
          globalSetup: ['test/helpers/tools.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
          // After the unit tests: what is broken there need not be waited for.
          sequence: { groupOrder: 1 },
          // A test that must be repeated to pass hides what it should show.
          retry: 0,
        },
      },
    ],
  },
})

export default config
