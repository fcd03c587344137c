import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { startTestControl, type TestControl } from './control.ts'
import { startTestTemporal, type TestTemporal } from './temporal.ts'

/** `app` is a name that no app has yet. There is a source `shop`. */
export type WithoutWorker = { temporal: TestTemporal; control: TestControl; app: string }

/**
 * A control plane with a Temporal of its own and no worker, for all tests of a file. @param take is given it before each.
 */
export function withoutWorker(take: (parts: WithoutWorker) => void, env: NodeJS.ProcessEnv = {}): void {
  let temporal: TestTemporal
  let control: TestControl
  let count = 0
  beforeAll(async () => {
    temporal = await startTestTemporal()
    control = await startTestControl({ temporal: temporal.address, env })
    await mkdir(join(control.sources, 'shop'))
  })
  afterAll(async () => {
    await control?.stop()
    await temporal?.stop()
  })
  beforeEach(() => take({ temporal, control, app: `app-${++count}` }))
}
