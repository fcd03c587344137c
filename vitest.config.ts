import { defineConfig } from 'vitest/config'

/**
 * `unit`: beside the code, no outside tools, ≤ 30 s in all (DESIGN D20). `integration`: real processes, so few at a
 * time, and with deadlines that hold on a loaded machine with two cores. `root`: what only root may do, as mounting a
 * small disk that is then filled, and what is confined in another way as root. All but `test/root` passes as an ordinary
 * user too, who is not given that.
 */
const INTEGRATION = 'test/**/*.test.ts'
const ROOT_ONLY = 'test/root/**/*.test.ts'
const OTHERWISE_AS_ROOT = ['test/security/process-tier.test.ts', 'test/conformance/provider-process.test.ts']

const isRoot = process.getuid?.() === 0
if (!isRoot) process.stderr.write(`Left out: ${ROOT_ONLY}, which only root can run.\n`)

const realProcesses = {
  globalSetup: ['test/helpers/tools.ts'],
  testTimeout: 120_000,
  hookTimeout: 120_000,
  maxWorkers: 2,
  // A test that must be repeated to pass hides what it should show.
  retry: 0,
}

const unit = {
  name: 'unit',
  include: ['**/*.test.ts'],
  exclude: ['**/node_modules/**', 'examples/**', '.coppice*/**', INTEGRATION],
  testTimeout: 30_000,
  // Not 0: where vitest has one worker, as on two cores, it runs that group after all others.
  sequence: { groupOrder: 1 },
}
// After the unit tests: what is broken there need not be waited for.
const integration = {
  ...realProcesses,
  name: 'integration',
  include: [INTEGRATION],
  exclude: isRoot ? [ROOT_ONLY, ...OTHERWISE_AS_ROOT] : [ROOT_ONLY],
  sequence: { groupOrder: 2 },
}
const root = {
  ...realProcesses,
  name: 'root',
  include: [ROOT_ONLY, ...OTHERWISE_AS_ROOT],
  sequence: { groupOrder: 3 },
}

const config = defineConfig({
  test: { projects: [unit, integration, ...(isRoot ? [root] : [])].map((test) => ({ test })) },
})

export default config
