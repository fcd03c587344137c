/**
 * A worker whose instances, sources and builds are nothing: what is left is the orchestration, which is what the
 * benches of sagas measure. Every instance "answers" at one small server, so that the router's checks find it well.
 */
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createActivities } from '../../../activities/activities.ts'
import type { Instances } from '../../../runtime/contracts.ts'
import { openStore, type Store } from '../../../store/store.ts'
import { createLogger } from '../../../worker/logger.ts'
import { workerOptionsFrom } from '../../../worker/options.ts'
import { runTemporalWorker } from '../../../worker/temporal.ts'
import { workflowBundle } from '../../../worker/workflow-bundle.ts'

const DIGEST = '0'.repeat(64)

const server = createServer((_request, response) => response.end('ok\n'))
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const address = `127.0.0.1:${(server.address() as AddressInfo).port}`

const options = workerOptionsFrom(process.env)
const store = await openStore(options.store)
const logger = createLogger('warn')
const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stopping.abort())

await runTemporalWorker(
  {
    ...options.temporal,
    bundle: () => workflowBundle(join(options.store.home, 'cache', 'workflows')),
    activities: createActivities({
      store,
      instances: idleInstances(store),
      sources: {
        snapshot: async () => ({ digest: DIGEST, files: 0, bytes: 0 }),
        receive: async () => ({ digest: DIGEST, files: 0, bytes: 0 }),
        path: async () => '/',
      },
      builder: { build: async () => ({ artifact: DIGEST, layers: [], built: [], preinstalled: null }) },
      temporalAddress: options.temporal.address,
      elapsed: () => performance.now(),
      resolveSource: async () => '/',
      secretsOf: async () => [],
      openBuildLog: () => ({ write: () => {}, close: () => {} }),
    }),
    store,
    logger,
    onReady: (ready) => {
      const file = process.env.COPPICE_READY_FILE
      if (ready && file !== undefined) writeFileSync(file, String(process.pid))
    },
  },
  stopping.signal,
)
process.exit(0)

function idleInstances({ instances }: Store): Instances {
  return {
    start: async (id) => {
      await instances.observe(id, { observed: 'running', address, pid: process.pid, startedAt: Date.now() })
      return { address, startMs: 0 }
    },
    stop: async (id) => {
      await instances.retire(id)
      await instances.forget(id)
      return { left: null }
    },
    ended: async () => [],
    lookAgain: async () => {},
    reconcile: async () => {},
    close: async () => {},
  }
}
