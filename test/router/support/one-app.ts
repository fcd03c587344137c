import { afterAll, beforeAll, beforeEach } from 'vitest'
import { type Origin, startOrigin } from './origin.ts'
import { type RouterProcess, startRouter } from './router-process.ts'
import { app, table } from './tables.ts'

/** One instance, `a`, of one app behind a router of one process, for the tests of a `describe`. */
export function oneApp() {
  const parts = {} as { origin: Origin; router: RouterProcess }
  beforeAll(async () => {
    parts.origin = await startOrigin('a')
    parts.router = await startRouter({
      routes: table(1, app('app', [parts.origin], { affinity: false })),
      args: ['--processes', '1'],
    })
  })
  afterAll(async () => {
    await parts.router?.stop()
    await parts.origin?.close()
  })
  beforeEach(() => {
    parts.origin.seen.length = 0
  })
  return {
    get origin() {
      return parts.origin
    },
    get router() {
      return parts.router
    },
    /** What the router says that the instance has in flight. */
    async inFlight(): Promise<number> {
      const { inFlight } = (await parts.router.admin('/status')) as { inFlight: Record<string, number> }
      return inFlight.a ?? 0
    },
  }
}
