/** What the control plane can tell about the health of the platform; the CLI adds what it sees from outside. */
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { TASK_QUEUE } from '../domain/product.ts'
import type { Store } from '../store/store.ts'
import type { Temporal } from './temporal.ts'

export type Check = {
  name: string
  ok: boolean
  /** What is. */
  message: string
  /** What to do about it, when it is not well. */
  hint?: string
}

export type DoctorDeps = {
  store: Store
  temporal: Temporal
  namespace: string
  home: string
  /** What the runtime knows of its trees. */
  runtimeChecks: () => Promise<Check[]>
  /** Unix ms. */
  now: () => number
}

/** A poll lasts up to a minute; a worker that began none for longer is gone (Temporal lists it for 5 minutes). */
const POLLER_AGE_MS = 65_000
/** Less cannot hold another environment of an app. */
const LOW_DISK_BYTES = 1024 ** 3
/** With less, what is written fails already, though not all of it. */
const FULL_DISK_BYTES = 16 * 1024 ** 2

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
      await this.#routers(),
      await this.#operations(),
      await this.#disk(),
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
    const fresh = pollers.filter(({ ageMs }) => ageMs < POLLER_AGE_MS)
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

  async #routers(): Promise<Check> {
    const { store } = this.#deps
    const routers = await store.routers.list()
    const words = routers.map((router) => `${router.id} at ${router.address}${router.counted ? '' : ' (not counted)'}`)
    if (routers.some((router) => router.counted)) return { name: 'router', ok: true, message: words.join(', ') }
    return {
      name: 'router',
      ok: false,
      message: words.length === 0 ? 'no router has reported yet' : `no router is in touch: ${words.join(', ')}`,
      hint: 'Start it: coppice up. If its port is taken, set another one with COPPICE_ROUTER_LISTEN.',
    }
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

  async #disk(): Promise<Check> {
    const { home } = this.#deps
    const free = Math.min(...(await Promise.all(['.', ...MOVED].map((name) => freeBytes(join(home, name))))))
    const name = 'disk'
    if (free < FULL_DISK_BYTES)
      return {
        name,
        ok: false,
        message: `disk full: ${Math.floor(free / 1024 ** 2)} MiB free at ${home}`,
        hint: 'Free disk space. Apps serve on meanwhile; operations, uploads and log lines fail. Nothing has to be started again.',
      }
    const message = `${(free / 1024 ** 3).toFixed(1)} GiB free at ${home}`
    return free > LOW_DISK_BYTES
      ? { name, ok: true, message }
      : { name, ok: false, message, hint: 'Free some space; builds and logs fail on a full disk.' }
  }
}

/** Parts of a data directory that may lie on another disk. */
const MOVED = ['artifacts', 'cache', 'instances']

/** What is not there takes no space. */
const freeBytes = (path: string): Promise<number> =>
  statfs(path).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => Number.POSITIVE_INFINITY,
  )
