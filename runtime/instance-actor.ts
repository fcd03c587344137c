import type { Logger } from 'pino'
import { portOf } from '../domain/address.ts'
import { type BackOff, CRASH_LOOP_FROM, crashesInARow, restartDelayMs } from '../domain/back-off.ts'
import { CoppiceError } from '../domain/errors.ts'
import { elapsedMs, remainingMs } from '../domain/spans.ts'
import { ailmentOf, isSame, notedAilment, noteOf, Patience, whyAnew } from './ailment.ts'
import { Attempt } from './attempt.ts'
import type { Clock } from './clock.ts'
import type {
  InstanceEventKind,
  InstanceInventory,
  InstanceRecord,
  InstanceSpec,
  Instances,
  Observation,
  ObservedPatch,
  Provider,
  Removal,
} from './contracts.ts'
import { ASK_LIMIT_MS, crashInWords, type HealthOptions, isFinding, LOG_LINES, waitUntilHealthy } from './health.ts'
import { askHttp, canConnect } from './probe.ts'
import type { Slots } from './slots.ts'

export type ActorContext = {
  provider: Provider
  inventory: InstanceInventory
  clock: Clock
  logger: Logger
  backOff: BackOff
  /** From SIGTERM to SIGKILL, in ms. */
  graceMs: number
  /** Bounds how many instances are being set up at once; waiting for health holds no slot. */
  slots: Slots
  /** How long it may be suspended or silent before it is started anew, in ms (R12.2). */
  restartSilentAfterMs: number
  /** Injected parts of the health check; it waits for real processes, so it may need a real clock beside a fake one. */
  health: Partial<Pick<HealthOptions, 'ask' | 'canConnect' | 'beyondLoopback' | 'clock'>>
}

type Started = Awaited<ReturnType<Instances['start']>>
type Running = Extract<Observation, { state: 'running' }>

/** Times an instance is set up when somebody foreign takes the port between our look at it and the app's bind. */
const PORT_ATTEMPTS = 3

/**
 * Everything that happens to one instance in this worker, one thing after the other.
 *
 * idle → starting → up; from up by its exit → held back (a timer runs) → starting …
 * From up also, while it is suspended or silent → ailing (a timer runs) → up by itself, or held back as after an exit.
 * Sagas move it by `start` and `stop`, its process by ending, the clock by the timer, the reconciler by `keepUp`,
 * which takes an instance over that an earlier worker left in any of these states. `stop` overtakes everything: it
 * writes down that the instance is retired, ends a running start, and leads to gone, from where nothing leads back.
 */
export class InstanceActor {
  readonly id: string
  readonly #context: ActorContext
  /** Whatever is under way or waits for its turn. */
  #tail: Promise<unknown> = Promise.resolve()
  #attempt: Attempt | null = null
  #stopping: Promise<Removal> | null = null
  /** How many works have the turn, or wait for it, that may take away its process: as long as the grace of its app. */
  #givingUp = 0
  /** It is up and an exit is a crash: what to do when it is no longer watched. */
  #watch: { upMs: () => number; cancel: () => void } | null = null
  #cancelRestart: (() => void) | null = null
  /** It ails; null while it is well, or is not watched. */
  #patience: Patience | null = null
  /** Since when routers say that it is silent; null when none does. As it was when it was looked at last. */
  #silentSince: number | null = null
  /** That it is up, which could not be written down yet; the reconciler tries again. Null as a rule. */
  #unwritten: ObservedPatch | null = null
  /** Silence of the process before this one, until no router speaks of it any more. */
  #pastSilence: number | null = null

  constructor(id: string, context: ActorContext) {
    this.id = id
    this.#context = context
  }

  async start(options: Parameters<Instances['start']>[1] = {}): Promise<Started> {
    // An attempt that its callers gave up cannot be joined; the next one begins when it has ended.
    while (this.#attempt?.aborted && !this.#stopping) await this.#attempt.settled()
    if (this.#stopping) throw this.#retired()
    this.#attempt ??= this.#begin(false)
    return this.#attempt.join(options)
  }

  /** A second call joins the first, and its grace. */
  stop(graceMs: number): Promise<Removal> {
    this.#stopping ??= this.#stop(graceMs).catch((error) => {
      this.#stopping = null
      throw error
    })
    return this.#stopping
  }

  /**
   * Sees to it that the instance is up, or will be when its back-off is over. Returns when that is decided, and at once
   * while something sees to it that may take long: who looks after all instances waits for this one.
   *
   * @param silentSince as `InstanceInventory.silent` has it; null when no router says so.
   */
  keepUp(silentSince: number | null = null): Promise<void> {
    this.#silentSince = silentSince
    if (this.#isSeenTo) return Promise.resolve()
    return this.#inTurn(async () => {
      if (this.#isSeenTo) return
      const { provider, inventory, clock, backOff } = this.#context
      const record = await inventory.get(this.id)
      if (!record || record.desired === 'retired') return
      if (this.#cancelRestart) return hasBegunAnew(record) ? this.#startAnew(record) : undefined
      const seen = await provider.observe(this.id)
      // What came meanwhile is next in turn.
      if (this.#isSeenTo) return
      if (seen.state === 'running') {
        if (this.#watch) return this.#tend(await this.#writeDownAtLast(record), seen)
        if (this.#isAsRecorded(record, seen)) return this.#adopt(record, seen)
      } else if (this.#watch) {
        return this.#handleExit()
      }
      if (hasBegunAnew(record)) return this.#startAnew(record)
      const isHeldBack = notedAilment(record) === null && record.restartAt !== null
      const leftMs = isHeldBack
        ? remainingMs(record.restartAt as number, restartDelayMs(record.crashes, backOff), clock.now())
        : 0
      if (leftMs > 0) this.#restartIn(leftMs)
      else this.#restart()
    })
  }

  /**
   * Its process has ended, was stopped, or goes on. While it starts or stops, those who wait for it see that themselves.
   */
  changed(): void {
    if (!this.#watch) return
    void this.#inTurn(() => this.#handleChange()).catch((error) => {
      // The reconciler finds it as it is and tries again.
      this.#context.logger.error({ err: error, instance: this.id }, 'could not handle a change of an instance')
    })
  }

  /** Ends the waiting, not the instance. */
  async close(): Promise<void> {
    this.#cancelRestart?.()
    this.#unwatch()
    this.#attempt?.abort(new CoppiceError('Unavailable', 'the worker is shutting down'))
    await this.#attempt?.settled()
  }

  // ---- starting ------------------------------------------------------------------------------------------------

  #begin(own: boolean): Attempt {
    return new Attempt(own, (signal, report) =>
      this.#inTurn(async () => {
        this.#cancelRestart?.()
        this.#cancelRestart = null
        try {
          return await this.#bringUp(signal, report, own)
        } finally {
          this.#attempt = null
        }
      }),
    )
  }

  async #bringUp(signal: AbortSignal, report: (words: string) => void, own: boolean): Promise<Started> {
    const { inventory, provider, clock, logger } = this.#context
    signal.throwIfAborted()
    const begunAt = clock.elapsed()
    const record = await inventory.get(this.id)
    if (!record || record.desired === 'retired') throw this.#retired()
    this.#unwatch()
    try {
      const spec = await this.#spec(signal, report, own)
      if (!spec) throw this.#retired()
      if ((await provider.observe(this.id)).state !== 'running') {
        // For people to see. That it cannot be written keeps nothing from running.
        await inventory
          .observe(this.id, { observed: 'starting', restartAt: null })
          .catch((err) => logger.warn({ err, instance: this.id }, 'could not write down that it is starting'))
      }
      const { running, address, loopbackOnly } = await this.#untilHealthy(spec, signal, report)
      this.#pastSilence = this.#silentSince
      await this.#watchFrom(running.startedAt, record.crashes)
      const note: ObservedPatch = {
        observed: 'running',
        address,
        pid: running.pid,
        startedAt: running.startedAt,
        restartAt: null,
        message: null,
      }
      // A saga that starts it tries again itself, and has to know until then.
      await inventory.observe(this.id, note).catch((err) => {
        if (!own) throw err
        this.#unwritten = note
        logger.warn({ err, instance: this.id }, 'could not write down that it is up; tries again')
      })
      if (loopbackOnly !== null && !own) {
        await this.#event(record, 'loopbackWarning', loopbackWarning(loopbackOnly, portOf(address)))
      }
      return { address, startMs: Math.min(clock.elapsed() - begunAt, elapsedMs(running.startedAt, clock.now())) }
    } catch (error) {
      if (!signal.aborted) await this.#noteFailure(error)
      throw error
    }
  }

  /** Making it ready may take minutes, of which a saga hears; of a restart of the worker's own the inventory tells. */
  async #spec(signal: AbortSignal, report: (words: string) => void, own: boolean): Promise<InstanceSpec | null> {
    const { inventory, provider, logger } = this.#context
    let written: Promise<void> = Promise.resolve()
    const write = (message: string) => {
      written = written
        .then(async () => {
          if ((await provider.observe(this.id)).state === 'running') return
          await inventory.observe(this.id, { observed: 'starting', restartAt: null, message })
        })
        .catch((err) => logger.warn({ err, instance: this.id }, 'could not write down what its start is at'))
    }
    const onProgress = (words: string) => {
      report(words)
      if (own) write(`Being started again: ${words}.`)
    }
    try {
      return await inventory.spec(this.id, { signal, onProgress })
    } finally {
      await written
    }
  }

  async #untilHealthy(spec: InstanceSpec, signal: AbortSignal, report: (words: string) => void) {
    const { provider, slots, clock, health } = this.#context
    const real = health.clock ?? clock
    // All attempts together have the time of one.
    let deadline: number | undefined
    for (let attempt = 1; ; attempt++) {
      report('starting its process')
      const running = await slots.use(async () => {
        signal.throwIfAborted()
        return provider.ensure(spec)
      })
      const triedAt = real.elapsed()
      try {
        const healthy = await waitUntilHealthy({
          id: this.id,
          spec,
          running,
          provider,
          clock,
          signal,
          deadline,
          onProgress: report,
          ...health,
        })
        return { running, ...healthy }
      } catch (error) {
        if (attempt >= PORT_ATTEMPTS || !(await this.#lostItsPort(error, running))) throw error
        deadline ??= triedAt + spec.health.timeoutMs
        if (real.elapsed() >= deadline) throw error
        report('another program took its port; starting it on another one')
        await provider.remove(this.id, { graceMs: 0 })
      }
    }
  }

  /** R12.8: the app found its port taken, which it tells by crashing or by not listening. */
  async #lostItsPort(error: unknown, running: Running): Promise<boolean> {
    if (!(error instanceof CoppiceError)) return false
    if (error.code === 'PortUnavailable') return true
    if (error.code !== 'AppCrashedAtStart' || !(await canConnect('127.0.0.1', portOf(running.address)))) return false
    // A daemon that it left has the port for itself: that is no reason to try another one.
    return (await this.#context.provider.listeners(this.id, portOf(running.address))).length === 0
  }

  async #noteFailure(error: unknown): Promise<void> {
    if (!(error instanceof CoppiceError) || error.code === 'InstanceRetired') return
    const { logLines } = error.details
    await this.#context.inventory
      .observe(this.id, {
        observed: error.code === 'AppCrashedAtStart' ? 'crashed' : 'starting',
        message: error.message,
        ...(logLines ? { logLines } : {}),
      })
      .catch((err) =>
        this.#context.logger.warn({ err, instance: this.id }, 'could not write down why it did not start'),
      )
  }

  // ---- staying up ----------------------------------------------------------------------------------------------

  /** What the inventory says of it is true, so it was found healthy before; anything else is checked again. */
  #isAsRecorded(record: InstanceRecord, seen: Running): boolean {
    const wasHealthy = record.observed === 'running' || record.observed === 'suspended'
    return wasHealthy && record.address !== null && portOf(record.address) === portOf(seen.address)
  }

  /** @returns the record as it is then. */
  async #writeDownAtLast(record: InstanceRecord): Promise<InstanceRecord> {
    const note = this.#unwritten
    if (note === null) return record
    await this.#context.inventory.observe(this.id, note)
    this.#unwritten = null
    return { ...record, ...note }
  }

  async #adopt(record: InstanceRecord, seen: Running): Promise<void> {
    await this.#watchFrom(seen.startedAt, record.crashes)
    await this.#event(record, 'adopted', 'It went on running without a worker; this one looks after it now.')
    await this.#tend(record, seen)
  }

  async #watchFrom(startedAt: number, crashes: number): Promise<void> {
    this.#unwatch()
    const { clock, backOff, inventory, provider, logger } = this.#context
    const provedAfterMs = remainingMs(startedAt + backOff.resetAfterMs, backOff.resetAfterMs, clock.now())
    // An earlier worker may have started it; from here on no clock that is set makes it older or younger.
    const [from, before] = [clock.elapsed(), elapsedMs(startedAt, clock.now())]
    const upMs = () => before + clock.elapsed() - from
    const forget = () =>
      inventory
        .observe(this.id, { crashes: 0 })
        .catch((err) => logger.warn({ err, instance: this.id }, 'could not forget its crashes'))
    this.#watch = { upMs, cancel: crashes > 0 ? clock.after(provedAfterMs, forget) : () => {} }
    // It may have ended, or was stopped, before anybody listened.
    const seen = await provider.observe(this.id)
    if (seen.state !== 'running' || seen.suspended) this.changed()
  }

  #unwatch(): void {
    this.#watch?.cancel()
    this.#watch = null
    this.#unwritten = null
    this.#patience?.end()
    this.#patience = null
  }

  async #handleChange(): Promise<void> {
    const { provider, inventory } = this.#context
    if (!this.#watch || this.#attempt || this.#stopping) return
    const seen = await provider.observe(this.id)
    if (seen.state !== 'running') return this.#handleExit()
    const record = await inventory.get(this.id)
    if (record && record.desired !== 'retired') await this.#tend(record, seen)
  }

  async #handleExit(): Promise<void> {
    const { provider, inventory, backOff } = this.#context
    const watch = this.#watch
    if (!watch || this.#attempt || this.#stopping) return
    const [record, seen] = [await inventory.get(this.id), await provider.observe(this.id)]
    if (seen.state === 'running') return
    this.#unwatch()
    if (!record || record.desired === 'retired') return
    const crashes = crashesInARow(record.crashes, watch.upMs(), backOff)
    await this.#holdBack(record, crashes, crashInWords(seen), await provider.logLines(this.id, LOG_LINES))
  }

  /** R12.9: people see at once that it is down, why, and when it is started again. */
  async #holdBack(
    record: InstanceRecord,
    crashes: number,
    why: string,
    logLines: string[],
    kind?: InstanceEventKind,
  ): Promise<void> {
    const { inventory, clock, backOff } = this.#context
    const delayMs = restartDelayMs(crashes, backOff)
    const restartAt = clock.now() + delayMs
    const observed = crashes >= CRASH_LOOP_FROM ? 'crashLoop' : 'crashed'
    const next = observed === 'crashLoop' ? `Crash ${crashes} in a row; next` : 'Next'
    const message = `${why} ${next} start in ${delayMs / 1_000} s.`
    this.#context.logger.warn({ app: record.app, instance: this.id, crashes, delayMs }, why)
    this.#restartIn(delayMs)
    await inventory.observe(this.id, { observed, crashes, restartAt, pid: null, message, logLines })
    await this.#event(record, kind ?? observed, message, logLines)
  }

  #restartIn(ms: number): void {
    this.#cancelRestart?.()
    this.#cancelRestart = this.#context.clock.after(ms, () => {
      this.#cancelRestart = null
      this.#restart()
    })
  }

  /** Whatever held it back may have been mended (R12.9). The word for that is used up first: it holds for one start. */
  async #startAnew(record: InstanceRecord): Promise<void> {
    await this.#context.inventory.observe(this.id, { observed: record.observed, restartAt: null })
    this.#restart()
  }

  #restart(): void {
    if (this.#attempt || this.#stopping) return
    const attempt = this.#begin(true)
    this.#attempt = attempt
    attempt
      .join({})
      .then(
        () => this.#inTurn(() => this.#restarted()),
        (error) => (attempt.aborted ? undefined : this.#inTurnToGiveUp(() => this.#notRestarted(error))),
      )
      .catch((err) => this.#context.logger.error({ err, instance: this.id }, 'could not write down how a restart went'))
  }

  async #restarted(): Promise<void> {
    const record = await this.#context.inventory.get(this.id)
    if (record) await this.#event(record, 'restarted', 'It is up again.')
  }

  /**
   * What runs and does not get healthy is not left standing: a fresh start may do better. Other trouble is ours (a store
   * that is away, no descriptors left) and says nothing of what runs: it is only looked at again.
   */
  async #notRestarted(error: unknown): Promise<void> {
    const { inventory, provider, graceMs, backOff, logger } = this.#context
    if (this.#attempt || this.#stopping) return
    const record = await inventory.get(this.id)
    if (!record || record.desired === 'retired') return
    if ((await provider.observe(this.id)).state === 'running') {
      if (!isFinding(error)) {
        logger.warn({ err: error, instance: this.id }, 'could not look whether it is healthy; looks again')
        return this.#restartIn(restartDelayMs(Math.max(record.crashes, 1), backOff))
      }
      await provider.remove(this.id, { graceMs })
    }
    const known = error instanceof CoppiceError ? error : null
    // Of a build that failed, what that said last.
    const logLines = known?.details.logLines ?? (await provider.logLines(this.id, LOG_LINES))
    await this.#holdBack(record, record.crashes + 1, known?.message ?? 'It could not be started again.', logLines)
  }

  // ---- ailing --------------------------------------------------------------------------------------------------

  /**
   * Notices that it is suspended or silent, and that it is no longer. From the first on it has so much time to get well;
   * an earlier worker may have begun to wait, and what is left of that counts, by its length.
   */
  async #tend(record: InstanceRecord, seen: Running): Promise<void> {
    const { inventory, clock, restartSilentAfterMs } = this.#context
    if (this.#silentSince !== this.#pastSilence) this.#pastSilence = null
    const ailment = ailmentOf(seen, this.#pastSilence === null ? this.#silentSince : null)
    const known = this.#patience?.ailment ?? null
    if (ailment !== null && known !== null && isSame(ailment, known)) return
    const noted = known?.kind ?? notedAilment(record)
    if (ailment === null && noted === null) return
    this.#patience?.end()
    this.#patience = null
    if (ailment === null) {
      await inventory.observe(this.id, { observed: 'running', message: null, restartAt: null })
      if (noted === 'suspended') await this.#event(record, 'resumed', 'It goes on.')
      return
    }
    if (known === null && noted === ailment.kind && record.restartAt !== null) {
      const leftMs = remainingMs(record.restartAt, restartSilentAfterMs, clock.now())
      return this.#waitFor(ailment, leftMs)
    }
    const note = noteOf(ailment, clock.now() + restartSilentAfterMs)
    await inventory.observe(this.id, note)
    this.#waitFor(ailment, restartSilentAfterMs)
    const words = `${note.message} Unless it goes on, it is started again in ${restartSilentAfterMs / 1_000} s.`
    if (ailment.kind === 'suspended' && noted !== 'suspended') await this.#event(record, 'suspended', words)
  }

  #waitFor(ailment: Patience['ailment'], ms: number): void {
    this.#patience = new Patience(ailment, this.#context.clock, ms, (patience) => {
      this.#inTurnToGiveUp(() => this.#whenOver(patience)).catch((err) => {
        // The reconciler finds it ailing for longer than it may, and tries again.
        if (this.#patience === patience) this.#patience = null
        this.#context.logger.error({ err, instance: this.id }, 'could not start an ailing instance anew')
      })
    })
  }

  async #whenOver(patience: Patience): Promise<void> {
    const { inventory, provider, clock, backOff, graceMs, restartSilentAfterMs } = this.#context
    const { ailment } = patience
    const [record, seen] = [await inventory.get(this.id), await provider.observe(this.id)]
    const isMoot = () => this.#patience !== patience || this.#attempt !== null || this.#stopping !== null
    if (isMoot() || !this.#watch || !record || record.desired === 'retired') return
    if (seen.state !== 'running') return this.#handleExit()
    if (ailment.kind === 'suspended' && !seen.suspended) return this.#tend(record, seen)
    // What drains goes anyway. And one answer, where routers have asked in vain, says that it is not dead.
    const isSpared =
      record.role === 'draining' || (ailment.kind === 'silent' && (await this.#answers(record, seen, patience.signal)))
    if (isMoot()) return
    if (isSpared) {
      this.#waitFor(ailment, restartSilentAfterMs)
      return inventory.observe(this.id, { restartAt: clock.now() + restartSilentAfterMs })
    }
    // The last reconciliation was seconds ago. A silence that has ended since, or is another one, is none of so long.
    if (ailment.kind === 'silent') {
      this.#silentSince = (await inventory.silent()).get(this.id) ?? null
      if (isMoot()) return
      if (this.#silentSince !== ailment.since) return this.#tend(record, seen)
    }
    const crashes = crashesInARow(record.crashes, this.#watch.upMs(), backOff)
    // What it said before it was told to end tells more than what it says then.
    const logLines = await provider.logLines(this.id, LOG_LINES)
    await provider.remove(this.id, { graceMs })
    this.#unwatch()
    if (this.#stopping) return
    await this.#holdBack(record, crashes, whyAnew(ailment, restartSilentAfterMs), logLines, 'replaced')
  }

  async #answers(record: InstanceRecord, seen: Running, signal: AbortSignal): Promise<boolean> {
    const ask = this.#context.health.ask ?? askHttp
    const address = record.address ?? seen.address
    const answer = await ask({ address, path: record.healthPath ?? '/', timeLimitMs: ASK_LIMIT_MS, signal })
    return answer.kind === 'status'
  }

  // ---- stopping ------------------------------------------------------------------------------------------------

  async #stop(graceMs: number): Promise<Removal> {
    const { inventory, provider } = this.#context
    await inventory.retire(this.id)
    this.#cancelRestart?.()
    this.#cancelRestart = null
    this.#unwatch()
    this.#attempt?.abort(this.#retired())
    return this.#inTurn(async () => {
      const removal = await provider.remove(this.id, { graceMs })
      await inventory.forget(this.id)
      return removal
    })
  }

  // ---- helpers -------------------------------------------------------------------------------------------------

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(work)
    this.#tail = result.catch(() => undefined)
    return result
  }

  async #inTurnToGiveUp(work: () => Promise<void>): Promise<void> {
    this.#givingUp += 1
    try {
      await this.#inTurn(work)
    } finally {
      this.#givingUp -= 1
    }
  }

  /** By a start, a stop, or the end of a process that is given up; each may take minutes. */
  get #isSeenTo(): boolean {
    return this.#attempt !== null || this.#stopping !== null || this.#givingUp > 0
  }

  #retired(): CoppiceError {
    return new CoppiceError('InstanceRetired', `the instance ${this.id} has been told to go`)
  }

  /** History is for people: that it cannot be written keeps nothing from running. */
  async #event(record: InstanceRecord, kind: InstanceEventKind, message: string, logLines?: string[]): Promise<void> {
    await this.#context.inventory
      .event({ app: record.app, instance: this.id, kind, message, ...(logLines ? { logLines } : {}) })
      .catch((err) => this.#context.logger.warn({ err, instance: this.id, kind }, 'could not write down an event'))
  }
}

function loopbackWarning(found: string, port: number): string {
  return `The app listens on ${found}, which only this machine can reach. As a scaled app it would have to listen on 0.0.0.0:${port}.`
}

/** Held back without a crash: somebody has let it begin anew. */
const hasBegunAnew = ({ observed, crashes, restartAt }: InstanceRecord): boolean =>
  (observed === 'crashed' || observed === 'crashLoop') && crashes === 0 && restartAt !== null
