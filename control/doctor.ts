/** What the control plane can tell about the health of the platform; the CLI adds what it sees from outside. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { endCommand, foreignWords } from '../domain/app-lock.ts'
import { CoppiceError, ERRORS } from '../domain/errors.ts'
import { TASK_QUEUE } from '../domain/product.ts'
import type { RouterRecord } from '../store/routers.ts'
import type { Store } from '../store/store.ts'
import { type AppFacts, appChecks } from './app-checks.ts'
import type { Check } from './check.ts'
import type { ClockJump } from './clock-watch.ts'
import { diskCheck } from './disk-check.ts'
import { foreignLocks } from './lock-holder.ts'
import type { Temporal } from './temporal.ts'

export type DoctorDeps = {
  store: Store
  temporal: Temporal
  namespace: string
  home: string
  /** What the runtime knows of its trees. */
  runtimeChecks: () => Promise<Check[]>
  /** The last one, if it was lately. */
  clockJump: () => ClockJump | null
  /** Unix ms. */
  now: () => number
}

/** A poll lasts up to a minute; a worker that began none for longer is gone (Temporal lists it for 5 minutes). */
const POLLER_AGE_MS = 65_000

/** They report every 2 s, and at once what is new; a busy machine takes its time. */
const LAG_LOOKS = 25
const LAG_LOOK_MS = 200
/** Their lease, and its margin. */
const SILENT_MS = 12_000
const START_ROUTER = 'Start it: coppice up. If its port is taken, set another one with COPPICE_ROUTER_LISTEN.'
/** A router that has been away for so long was not merely started again. */
const GONE_MS = 15 * 60_000

export class Doctor {
  readonly #deps: DoctorDeps

  constructor(deps: DoctorDeps) {
    this.#deps = deps
  }

  async examine(): Promise<Check[]> {
    const temporal = await this.#temporal()
    return [
      {
        name: 'control plane',
        ok: true,
        message: `runs on Node ${process.versions.node}, inventory ${this.#deps.store.inventory}`,
      },
      temporal,
      temporal.ok
        ? await this.#worker()
        : {
            name: 'worker',
            ok: false,
            message: 'unknown while Temporal does not answer',
            hint: 'Mend Temporal first.',
          },
      ...(await this.#routers()),
      ...(await this.#apps()),
      await this.#operations(),
      ...(temporal.ok ? await this.#locks() : []),
      ...(await this.#secretKey()),
      await diskCheck(this.#deps.home),
      ...clockChecks(this.#deps.clockJump()),
      ...(await this.#deps.runtimeChecks()),
    ]
  }

  async #temporal(): Promise<Check> {
    const { temporal, namespace } = this.#deps
    try {
      await temporal.call((client) => client.workflowService.describeNamespace({ namespace }))
      return { name: 'temporal', ok: true, message: `${temporal.address}, namespace ${namespace}` }
    } catch (error) {
      return {
        name: 'temporal',
        ok: false,
        message: (error as Error).message,
        hint: 'Start it (coppice up), or name another one in COPPICE_TEMPORAL_ADDRESS and COPPICE_TEMPORAL_NAMESPACE.',
      }
    }
  }

  async #worker(): Promise<Check> {
    const { temporal, namespace } = this.#deps
    const found = await temporal.call((client) =>
      // 1 is the queue of workflow tasks.
      client.workflowService.describeTaskQueue({ namespace, taskQueue: { name: TASK_QUEUE }, taskQueueType: 1 }),
    )
    const pollers = (found.pollers ?? []).map(({ identity, lastAccessTime }) => ({
      identity,
      ageMs: this.#deps.now() - Number(lastAccessTime?.seconds ?? 0) * 1000,
    }))
    const fresh = pollers.filter(({ ageMs }) => Math.abs(ageMs) < POLLER_AGE_MS)
    const words = fresh.map(({ identity, ageMs }) => `${identity}, asked for work ${Math.round(ageMs / 1000)} s ago`)
    return fresh.length > 0
      ? { name: 'worker', ok: true, message: words.join('; ') }
      : {
          name: 'worker',
          ok: false,
          message: `no worker polls the task queue "${TASK_QUEUE}"; apps serve on, operations wait`,
          hint: 'Start it: coppice up.',
        }
  }

  async #routers(): Promise<Check[]> {
    const { store } = this.#deps
    const current = await store.routes.version()
    let routers = await store.routers.list()
    if (routers.length === 0)
      return [{ name: 'router', ok: false, message: 'no router has reported yet', hint: START_ROUTER }]
    // Nothing comes from one that has signed off, nor from one that cannot apply it.
    const lags = ({ version, away, refused }: RouterRecord): boolean => version < current && !away && refused === null
    // Every change is on its way for a moment.
    for (let look = 0; routers.some(lags) && look < LAG_LOOKS; look++) {
      await sleep(LAG_LOOK_MS)
      routers = await store.routers.list()
    }
    const nobody = !routers.some(({ counted }) => counted)
    return Promise.all(
      routers.map(async (router): Promise<Check> => {
        const where = `${router.id} at ${router.address}`
        const silentMs = this.#deps.now() - router.seenAt
        if (router.refused !== null)
          return {
            name: 'router',
            ok: false,
            message: `${where} cannot apply the current routes and serves its last ones: ${router.refused.reason}`,
            hint: 'Start it again with the program of the control plane. Operations do not wait for it.',
          }
        if (router.away || silentMs > SILENT_MS) {
          const ports = await store.ports.heldBackBy(router.version)
          const rest = ports === 0 ? '' : `; ports that rest because it may come back: ${ports}`
          return {
            name: 'router',
            // One that is merely started again signs off for a moment.
            ok: router.away && !nobody && (ports === 0 || silentMs < GONE_MS),
            message: `${where} ${router.away ? 'signed off' : 'was last heard of'} ${seconds(silentMs)} ago${rest}`,
            hint: `${START_ROUTER} If it will not come back: coppice routers remove ${router.id}.`,
          }
        }
        if (lags(router) || !router.counted)
          return {
            name: 'router',
            ok: false,
            message: `${where} is at table ${router.version} of ${current}; operations wait for it`,
            hint: 'Read its log: what keeps it from taking the table stands there. It synchronises by itself.',
          }
        return { name: 'router', ok: true, message: where }
      }),
    )
  }

  async #apps(): Promise<Check[]> {
    const { store } = this.#deps
    const { routers } = store
    const down = (await routers.list()).filter(({ counted }) => counted).flatMap((router) => router.down)
    const unanswered = new Set([...down, ...(await routers.silent()).keys()])
    const facts: AppFacts[] = []
    for (const app of await store.apps.list({ limit: Number.MAX_SAFE_INTEGER })) {
      // The newest may be under way; there is at most one such.
      const ended = (await store.operations.list({ app: app.name, limit: 2 })).find(({ endedAt }) => endedAt !== null)
      facts.push({ app, instances: await store.instances.ofApp(app.name), last: ended ?? null, unanswered })
    }
    return appChecks(facts)
  }

  /** Told only when it is lost: until an app is started nobody else notices. */
  async #secretKey(): Promise<Check[]> {
    const lost = (message: string): Check => ({
      name: 'secret key',
      ok: false,
      message,
      hint: ERRORS.SecretKeyLost.hint,
    })
    try {
      await this.#deps.store.secrets.assertReadable()
    } catch (error) {
      if (error instanceof CoppiceError && error.code === 'SecretKeyLost') return [lost(error.message)]
      throw error
    }
    const file = join(this.#deps.home, 'secret.key')
    return existsSync(file) ? [] : [lost(`${file} is gone; only the processes that run still know it`)]
  }

  async #operations(): Promise<Check> {
    const open = await this.#deps.store.operations.open()
    const old = open.filter((operation) => this.#deps.now() - operation.requestedAt > 15 * 60_000)
    return old.length === 0
      ? { name: 'operations', ok: true, message: `${open.length} open` }
      : {
          name: 'operations',
          ok: false,
          message: `open for more than 15 minutes: ${old.map(({ id, type, app }) => `${type} of ${app} (${id})`).join(', ')}`,
          hint: 'See what it waits for: coppice operations watch ID.',
        }
  }

  async #locks(): Promise<Check[]> {
    const { temporal } = this.#deps
    try {
      const foreign = await temporal.call(() => foreignLocks(this.#deps, TASK_QUEUE))
      return foreign.map(({ holder, why }) => ({
        name: `workflow ${holder.workflowId}`,
        ok: false,
        message: foreignWords(holder, why ?? ''),
        hint: `No operation on that app can begin meanwhile. If nobody needs it: ${endCommand(holder, temporal)}`,
      }))
    } catch (error) {
      return [
        {
          name: 'workflows',
          ok: false,
          message: `those under the ids of apps cannot be listed: ${(error as Error).message}`,
          hint: 'An operation that cannot begin says itself who holds the id of its app.',
        },
      ]
    }
  }
}

function clockChecks(jump: ClockJump | null): Check[] {
  if (jump === null) return []
  const way = jump.byMs < 0 ? 'back' : 'forward'
  return [
    {
      name: 'clock',
      ok: false,
      message: `the clock of this machine was set ${way} by ${seconds(Math.abs(jump.byMs))}, ${seconds(jump.agoMs)} ago, or the machine slept`,
      hint: 'Nothing here waits longer for it; times in logs and histories are not in order. Let a time service keep the clock.',
    },
  ]
}

const seconds = (ms: number): string => `${Math.round(ms / 1000)} s`
