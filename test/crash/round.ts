/**
 * One round: many apps, each held at another point of another operation, and one fault that meets them all. What is
 * killed is killed once for everybody; a terminate or a cancel goes to each operation by itself.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { assertNever } from '../../domain/states.ts'
import type { ProcessName } from '../../scripts/stack/state-file.ts'
import { Load } from '../helpers/load.ts'
import { type Hold, until } from '../helpers/platform.ts'
import { type Cause, type CrashCase, endOf, nameOf } from './cases.ts'
import type { Door } from './client.ts'
import { Lane, type LaneDeps } from './lane.ts'
import type { CrashOperation, OperationName } from './operations.ts'
import { type Away, type Ending, judgeAnswers, judgeState } from './verdict.ts'
import { deadRoutes, lookAround, type OperationRow, operationsOf, strays, untidiness, type World } from './world.ts'

export type CaseResult = { case: CrashCase; failures: string[] }

/** How long anything may take; for what never comes, not a measure of speed. */
const PATIENCE_MS = 90_000
const SETTLE_MS = 45_000
/**
 * How long what was killed stays away: long enough for the others to do everything that they can, and must not, do
 * without it. Without the worker nothing is done.
 */
const OUTAGE_MS = { worker: 0, control: 3_000, temporal: 3_000, router: 3_000 } satisfies Record<ProcessName, number>

export class Rounds {
  readonly #deps: LaneDeps
  readonly #lanes = new Map<string, Lane>()
  #count = 0

  constructor(deps: LaneDeps) {
    this.#deps = deps
  }

  /** @param cases all with the same fault. */
  async run(cases: readonly CrashCase[]): Promise<CaseResult[]> {
    const { platform } = this.#deps
    this.#count++
    const runs = cases.map(
      // Both doors in turn, so that each meets every fault.
      (each, i) =>
        new CaseRun(
          each,
          this.#lane(each.operation, cases.slice(0, i).filter(({ operation }) => operation === each.operation).length),
          this.#deps,
          (i + this.#count) % 2 === 0 ? 'api' : 'temporal',
        ),
    )
    const all = (phase: (run: CaseRun) => Promise<unknown>) =>
      Promise.all(runs.map((run) => run.attempt(() => phase(run))))
    try {
      await all((run) => run.prepare())
      await all((run) => run.reachFault())
      const fault = cases[0]?.fault
      if (fault?.startsWith('kill')) {
        const victim = fault.slice('kill '.length) as ProcessName
        const from = Date.now()
        await platform.fell(victim)
        await Promise.all(runs.map((run) => run.release()))
        await sleep(OUTAGE_MS[victim])
        await all((run) => run.judgeOutage())
        await platform.raise(victim)
        // Without a router nobody can be reached.
        if (victim === 'router') for (const run of runs) run.excuse({ from, to: Date.now() })
      } else {
        await all((run) => run.interrupt())
      }
      await all((run) => run.awaitEnd())
      await all((run) => run.judge())
      await all((run) => run.goOn())
    } finally {
      await Promise.all(runs.map((run) => run.cleanUp()))
      await platform.raiseAll()
    }
    return runs.map((run) => run.result())
  }

  /** @param n lanes of the same operation are told apart by it. */
  #lane(name: OperationName, n: number): Lane {
    const key = `${name} ${n + 1}`
    const lane = this.#lanes.get(key) ?? new Lane(name, key, this.#deps)
    this.#lanes.set(key, lane)
    return lane
  }
}

class CaseRun {
  readonly #case: CrashCase
  readonly #lane: Lane
  readonly #deps: LaneDeps
  readonly #door: Door
  readonly #failures: string[] = []
  #point: Hold | null = null
  /** Where the operation was when its undo or its repair was brought about. */
  #trigger: Hold | null = null
  #away: Away | null = null
  #load: Load | null = null
  #before: World | null = null
  #launcher: string | null = null
  #record: OperationRow | null = null

  constructor(each: CrashCase, lane: Lane, deps: LaneDeps, door: Door) {
    this.#case = each
    this.#lane = lane
    this.#deps = deps
    this.#door = door
  }

  result(): CaseResult {
    return { case: this.#case, failures: this.#failures }
  }

  /** A case that has failed takes part in nothing more. */
  async attempt(phase: () => Promise<unknown>): Promise<void> {
    if (this.#failures.length > 0) return
    try {
      await phase()
    } catch (error) {
      this.#failures.push((error as Error).message)
    }
  }

  async prepare(): Promise<void> {
    await this.#lane.prepare()
    this.#before = await this.#tidy()
    // Slow ones among them, so that there is always something in flight.
    this.#load = new Load({
      url: this.#deps.platform.stack.routerUrl,
      app: this.#lane.app,
      rate: 12,
      slowMs: () => (Math.random() < 0.2 ? 100 + Math.random() * 200 : 0),
      method: () => (Math.random() < 0.7 ? 'GET' : 'POST'),
    })
    await this.#load.more(3)
  }

  /** Begins the operation and returns when it, or its repair, stands at the point of the case. */
  async reachFault(): Promise<void> {
    const { kind, moment, cause } = this.#case
    const { platform, doors } = this.#deps
    const at = (point: string) => platform.hold(`${this.#lane.app}@${point}`)
    this.#point = await at(`${kind}.${moment}`)
    const trigger = triggerOf(cause, this.#lane.operation)
    if (trigger !== null) this.#trigger = await at(trigger)
    if (cause === 'crash') await this.#lane.lightFuse()
    this.#launcher = (await this.#lane.begin(this.#door)).launcher
    await this.#trigger?.reached()
    if (cause === 'cancel') {
      await doors.cancel(this.#lane.app)
      await this.#releaseTrigger()
    } else if (trigger !== null) {
      // It stays where it is until the repair has ended: what it had in hand is fenced off by then.
      await doors.terminate(this.#lane.app)
    }
    await this.#point.reached()
  }

  async interrupt(): Promise<void> {
    const { fault } = this.#case
    const { doors } = this.#deps
    if (fault === 'terminate') await doors.terminate(this.#lane.app)
    else await doors.cancel(this.#lane.app)
    await this.release()
  }

  /** Whatever is down: what a router may ask is there (R12.4). */
  async judgeOutage(): Promise<void> {
    const dead = deadRoutes(lookAround(this.#deps.platform), this.#lane.app)
    if (dead.length > 0) throw new Error(`stopped while the router still had it: ${dead.join(', ')}`)
  }

  async release(): Promise<void> {
    await this.#point?.release()
    this.#point = null
  }

  async #releaseTrigger(): Promise<void> {
    await this.#trigger?.release()
    this.#trigger = null
  }

  /** Requests that met the time in which there was no router may have failed. */
  excuse(away: Away): void {
    this.#away = away
  }

  async awaitEnd(): Promise<void> {
    const { platform, doors } = this.#deps
    const { app } = this.#lane
    const earlier = new Set(this.#before?.operations.map(({ id }) => id))
    const begun = await until(`${nameOf(this.#case)} to end`, PATIENCE_MS, async () => {
      const rows = operationsOf(platform, app).filter(({ id }) => !earlier.has(id))
      if (rows.length > 0 && rows.every(({ ended_at }) => ended_at !== null)) return rows
      // What this helper does not own must not be asked more often than needed: many wait here at once.
      await sleep(50)
      return null
    })
    const record = begun.find(({ type }) => type !== 'repair')
    if (record === undefined) throw new Error(`only ${begun.map(({ type }) => type).join()} was written down`)
    this.#record = record
    await this.#releaseTrigger()
    const now = lookAround(platform)
    const left = strays(now, app)
    if (left.length > 0) throw new Error(`the operation has ended and left behind: ${left.join('; ')}`)
    const row = now.apps.find(({ name }) => name === app)
    const refusal = row === undefined ? null : await doors.isFree(app, row.desired as 'running' | 'stopped')
    if (refusal !== null) throw new Error(`the operation has ended, and the next one is refused: ${refusal}`)
    await doors.closed(app, this.#launcher)
    await this.#lane.putOutFuse()
  }

  async judge(): Promise<void> {
    const record = this.#record as OperationRow
    const end = record.state === 'SUCCEEDED' ? 'new' : 'old'
    const wanted = endOf(this.#case)
    if (wanted !== 'by its record' && wanted !== end)
      this.#failures.push(`should end as ${wanted}, is ${record.state}: ${record.failure?.message ?? ''}`)
    const after = await this.#tidy()
    await this.#load?.more(5)
    const answers = (await this.#load?.stop()) ?? []
    const { app, operation } = this.#lane
    const ending: Ending = { app, operation, record, end, before: this.#before as World, after }
    this.#failures.push(...judgeState(ending), ...judgeAnswers(answers, ending, this.#away))
  }

  /** The next operation is taken and succeeds. */
  async goOn(): Promise<void> {
    await this.#lane.anotherOperation()
  }

  async cleanUp(): Promise<void> {
    await this.release()
    await this.#releaseTrigger()
    await this.#load?.stop()
    await this.#lane.putOutFuse()
    if (this.#failures.length > 0) this.#lane.renew()
  }

  /** Waits until nothing of the app is left over. */
  async #tidy(): Promise<World> {
    const { platform } = this.#deps
    const deadline = Date.now() + SETTLE_MS
    for (;;) {
      const world = lookAround(platform)
      const left = untidiness(world, this.#lane.app)
      if (left.length === 0) return world
      if (Date.now() > deadline) throw new Error(`after ${SETTLE_MS} ms: ${left.join('; ')}`)
      await sleep(250)
    }
  }
}

/** The point at which the operation is cancelled, or its workflow ended, before the undo or the repair is interrupted. */
function triggerOf(cause: Cause | null, { fuse }: CrashOperation): string | null {
  switch (cause) {
    case null:
    case 'crash':
      return null
    case 'cancel':
      return fuse === null ? 'admit.recorded' : 'start.effect'
    case 'end before the pivot':
      return 'commit.before'
    case 'end after the pivot':
      return 'commit.recorded'
    default:
      return assertNever(cause)
  }
}
