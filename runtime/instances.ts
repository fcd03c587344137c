import type { Logger } from 'pino'
import { portOf } from '../domain/address.ts'
import { type BackOff, DEFAULT_BACK_OFF } from '../domain/back-off.ts'
import { CoppiceError } from '../domain/errors.ts'
import { DEFAULTS } from '../domain/limits.ts'
import { assertNever } from '../domain/states.ts'
import { type Clock, systemClock } from './clock.ts'
import type {
  EndedInstance,
  InstanceInventory,
  InstanceRecord,
  Instances,
  Observation,
  Provider,
  Removal,
} from './contracts.ts'
import { crashInWords, LOG_LINES } from './health.ts'
import { type ActorContext, InstanceActor } from './instance-actor.ts'
import { verdict } from './reconcile.ts'
import { Slots } from './slots.ts'

export type InstancesOptions = {
  provider: Provider
  inventory: InstanceInventory
  logger: Logger
  clock?: Clock
  backOff?: BackOff
  /** From SIGTERM to SIGKILL, in ms, where `stop` does not say; default 15 s (R3.6). */
  graceMs?: number
  /** How many instances are set up (copied, spawned) at once, default 8. Waiting for health is not counted. */
  setUps?: number
  /** How often `reconcile` runs by itself, in ms; default 0: the worker calls it. */
  reconcileEveryMs?: number
  /** How long an instance may be suspended, or silent for the routers, before it is started anew, in ms; default 120 s. */
  restartSilentAfterMs?: number
  health?: ActorContext['health']
}

/** The instances of one worker (DESIGN D5): finds the actor of each, and compares what is with what should be. */
export function createInstances(options: InstancesOptions): Instances {
  return new InstanceRegistry(options)
}

class InstanceRegistry implements Instances {
  readonly #context: ActorContext
  readonly #actors = new Map<string, InstanceActor>()
  /** Stopped while a reconciliation looks at an older picture: no strays. */
  readonly #justStopped = new Set<string>()
  readonly #stopListening: () => void
  #cancelTimer: () => void = () => {}
  #reconciling: Promise<void> | null = null
  #closed = false

  constructor(options: InstancesOptions) {
    this.#context = {
      provider: options.provider,
      inventory: options.inventory,
      logger: options.logger,
      clock: options.clock ?? systemClock,
      backOff: options.backOff ?? DEFAULT_BACK_OFF,
      graceMs: options.graceMs ?? 15_000,
      slots: new Slots(options.setUps ?? 8),
      restartSilentAfterMs: options.restartSilentAfterMs ?? DEFAULTS.restartSilentAfterMs,
      health: options.health ?? {},
    }
    this.#stopListening = options.provider.onChange((id) => this.#actors.get(id)?.changed())
    if (options.reconcileEveryMs) this.#reconcileEvery(options.reconcileEveryMs)
  }

  async start(id: string, options?: Parameters<Instances['start']>[1]): ReturnType<Instances['start']> {
    return this.#actor(id).start(options)
  }

  async stop(id: string, options: { graceMs?: number } = {}): Promise<Removal> {
    const actor = this.#actor(id)
    const removal = await actor.stop(options.graceMs ?? this.#context.graceMs)
    this.#justStopped.add(id)
    if (this.#actors.get(id) === actor) this.#actors.delete(id)
    return removal
  }

  async ended(ids: string[]): Promise<EndedInstance[]> {
    const { provider } = this.#context
    const looks = ids.map(async (id) => {
      const seen = await provider.observe(id)
      const message = seen.state === 'running' ? await this.#whyUseless(id, seen) : crashInWords(seen)
      if (message === null) return []
      return [{ id, message, logLines: await provider.logLines(id, LOG_LINES) }]
    })
    return (await Promise.all(looks)).flat()
  }

  /** A process can live on without what it was started for: below a shell, say, or when it closes its server. */
  async #whyUseless(
    id: string,
    { suspended, address }: Extract<Observation, { state: 'running' }>,
  ): Promise<string | null> {
    if (suspended) return 'It was stopped by a signal.'
    const port = portOf(address)
    const listening = await this.#context.provider.listeners(id, port)
    return listening.length > 0 ? null : `Nothing of it listens on its port ${port} any more.`
  }

  async lookAgain(id: string): Promise<void> {
    const { inventory } = this.#context
    const record = await inventory.get(id)
    if (record === null) return
    await this.#judge(id, record, { isThere: true, silentSince: (await inventory.silent()).get(id) ?? null })
  }

  /**
   * Returns when it is decided what is to be done, not when it is done: a start that hangs, or an app that ignores
   * SIGTERM, holds up nobody else (R1.6).
   */
  reconcile(): Promise<void> {
    this.#reconciling ??= this.#reconcile().finally(() => {
      this.#reconciling = null
    })
    return this.#reconciling
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#cancelTimer()
    this.#stopListening()
    await Promise.all([...this.#actors.values()].map((actor) => actor.close()))
  }

  async #reconcile(): Promise<void> {
    const { provider, inventory } = this.#context
    this.#justStopped.clear()
    // What is there first, what should be second: an instance is written down before anything of it exists.
    const there = new Set(await provider.list())
    const records = new Map((await inventory.list()).map((record) => [record.id, record]))
    const silent = await inventory.silent()
    const ids = new Set([...there, ...records.keys()])
    const judge = (id: string) =>
      this.#judge(id, records.get(id) ?? null, { isThere: there.has(id), silentSince: silent.get(id) ?? null })
    await Promise.all([...ids].map(judge))
  }

  async #judge(
    id: string,
    record: InstanceRecord | null,
    { isThere, silentSince }: { isThere: boolean; silentSince: number | null },
  ): Promise<void> {
    if (this.#closed) return
    try {
      const found = verdict(record)
      switch (found) {
        case 'leave':
          return
        case 'keepUp':
          return await this.#actor(id).keepUp(silentSince)
        case 'remove':
          if (!this.#justStopped.has(id)) void this.#removeStray(id, record, isThere)
          return
        default:
          return assertNever(found)
      }
    } catch (error) {
      this.#context.logger.error({ err: error, instance: id }, 'could not reconcile an instance')
    }
  }

  async #removeStray(id: string, record: InstanceRecord | null, isThere: boolean): Promise<void> {
    const { inventory, logger } = this.#context
    try {
      const { left } = await this.stop(id)
      // A record of which nothing is left is tidied up without a word; of what is left the provider has told.
      if (!isThere || left !== null) return
      logger.warn({ instance: id }, 'removed an instance that nobody wanted any more')
      if (!record) return
      const message = 'It was still there although no operation wanted it any more, and was removed.'
      await inventory.event({ app: record.app, instance: id, kind: 'removedStray', message })
    } catch (error) {
      logger.error({ err: error, instance: id }, 'could not remove a stray instance')
    }
  }

  #actor(id: string): InstanceActor {
    if (this.#closed) throw new CoppiceError('Unavailable', 'the worker is shutting down')
    let actor = this.#actors.get(id)
    if (!actor) {
      actor = new InstanceActor(id, this.#context)
      this.#actors.set(id, actor)
    }
    return actor
  }

  #reconcileEvery(ms: number): void {
    const again = () => {
      if (this.#closed) return
      this.reconcile()
        .catch((err) => this.#context.logger.error({ err }, 'could not reconcile'))
        .finally(() => {
          if (!this.#closed) this.#cancelTimer = this.#context.clock.after(ms, again)
        })
    }
    this.#cancelTimer = this.#context.clock.after(0, again)
  }
}
