/** What a scenario can do to the app while the load runs, and the record of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ProcessTable } from '../../runtime/providers/process/process-table.ts'
import type { Finding } from '../check/finding.ts'
import { type Footprint, leaks } from '../check/leaks.ts'
import type { Fault, SeenOperation, SeenRebalance } from '../check/world.ts'
import type { Random } from '../k6/random.ts'
import type { InstanceAnswer, OperationAnswer } from './api.ts'
import { signalAll, targetsOf } from './instance-processes.ts'
import type { Observer } from './observer.ts'
import { INSTANCES_MASK, type Target, untilEnded } from './target.ts'

/** Something that the report marks. */
export type Mark = { at: number; until: number | null; kind: 'fault' | 'operation' | 'note'; words: string }

export type ActionParts = {
  target: Target
  observer: Observer
  processes: ProcessTable
  random: Random
  /** Counts requests so far. */
  requests: () => number
  say: (words: string) => void
  signal: AbortSignal
}

/** Connections that idle and directories that are being removed. */
const LEAVING_TIMEOUT_MS = 10_000
/** Past the longest pause before a restart, 5 min, which an instance has earned that was killed again and again (R12.9). */
const RECOVERY_TIMEOUT_MS = 330_000
/** After an instance runs again routers need two good checks; and a report, until we know of it. */
const SETTLE_MS = 2_500

export class Actions {
  readonly faults: Fault[] = []
  readonly operations: SeenOperation[] = []
  readonly rebalances: SeenRebalance[] = []
  readonly marks: Mark[] = []
  /** What could not be done here, in words. */
  readonly skipped: string[] = []
  readonly #parts: ActionParts
  #footprint: Footprint | null = null
  readonly #over = new AbortController()
  /** What has changed something and has to be brought to its end. */
  readonly #open = new Set<Promise<unknown>>()

  constructor(parts: ActionParts) {
    this.#parts = { ...parts, signal: AbortSignal.any([parts.signal, this.#over.signal]) }
  }

  /**
   * Nothing is begun any more, and what is under way comes to its end: an operation that is open changes the app after
   * everybody has gone, and an instance that is stopped stays so.
   */
  async close(): Promise<void> {
    this.#over.abort(new Error('the run is over'))
    await Promise.allSettled(this.#open)
  }

  async #toItsEnd<T>(work: Promise<T>): Promise<T> {
    this.#open.add(work)
    try {
      return await work
    } finally {
      this.#open.delete(work)
    }
  }

  get random(): Random {
    return this.#parts.random
  }

  /** Waits a time drawn from this range, so that faults hit any phase. */
  async pause(leastMs: number, mostMs: number): Promise<void> {
    await sleep(this.random.whole(leastMs, mostMs), undefined, { signal: this.#parts.signal })
  }

  /** Until the load has come so far. */
  async warm(requests: number): Promise<void> {
    while (this.#parts.requests() < requests) await sleep(50, undefined, { signal: this.#parts.signal })
    await this.pause(0, 500)
  }

  /** From here on what is left behind counts. */
  async measure(): Promise<void> {
    this.#footprint = await this.#parts.target.footprint()
  }

  /** What is there now and was not then; null where nothing was measured. Waits for what is on its way out. */
  async leaks(): Promise<Finding[] | null> {
    const before = this.#footprint
    if (before === null) return null
    for (const end = performance.now() + LEAVING_TIMEOUT_MS; ; await sleep(500)) {
      const after = (await this.#parts.target.footprint()) as Footprint
      const found = leaks(before, after, (await this.#serving()).length, Date.now())
      if (found.length === 0 || performance.now() > end) return found
    }
  }

  /**
   * SIGKILL; resolves when it serves again.
   * @param times the same instance again as soon as it is back: its restart is held back for longer each time (R12.9)
   */
  kill(times = 1): Promise<void> {
    return this.#fault('kill', 'SIGKILL', async (victim, strike) => {
      let last = victim
      for (let again = 1; again < times; again++) {
        last = await this.#untilBack(victim, last.pid ?? null)
        if (!(await strike(last))) break
      }
      return last.pid ?? null
    })
  }

  /** SIGSTOP, and SIGCONT after so long. */
  hang(ms: number): Promise<void> {
    const hanging = this.#fault('hang', 'SIGSTOP', async (victim) => {
      try {
        await sleep(ms, undefined, { signal: this.#parts.signal })
      } finally {
        // Looked up again: who has its pid by now may be another one.
        signalAll(await targetsOf(this.#parts.processes, victim), 'SIGCONT')
      }
      return null
    })
    return this.#toItsEnd(hanging)
  }

  /**
   * A handler blocks the whole instance for so long, and answers then (R12.2). Only our own app has such a handler.
   */
  async busy(ms: number): Promise<void> {
    const { target, say } = this.#parts
    const serving = await this.#serving()
    const victim = this.random.pick(serving)
    if (!target.own || victim.address === undefined) {
      this.skipped.push('a handler that blocks its instance: only the app of the load tests has one')
      return
    }
    const words = `handler that blocks slot ${victim.slot} for ${ms} ms`
    say(words)
    const fault: Fault = { kind: 'busy', instance: victim.id, slot: victim.slot, at: Date.now(), until: Infinity }
    const mark: Mark = { at: fault.at, until: null, kind: 'fault', words }
    this.marks.push(mark)
    this.faults.push(fault)
    const answer = await fetch(`http://${victim.address}/block?ms=${ms}`, { signal: this.#parts.signal })
    if (!answer.ok) throw new Error(`the handler that blocks answered ${answer.status}`)
    fault.until = Date.now()
    mark.until = fault.until
    await sleep(SETTLE_MS, undefined, { signal: this.#parts.signal })
  }

  /**
   * @param then what follows; gives the process that must not be there any more when the instance is back. Its `strike` does
   * it once more, and says whether it could
   */
  async #fault(
    kind: 'kill' | 'hang',
    signal: NodeJS.Signals,
    then: (victim: InstanceAnswer, strike: (instance: InstanceAnswer) => Promise<boolean>) => Promise<number | null>,
  ): Promise<void> {
    const { processes, random, say } = this.#parts
    const serving = await this.#serving()
    if (serving.length < 2) {
      this.skipped.push(`${signal} of an instance: with ${serving.length} of them every loss is to be expected`)
      return
    }
    const victim = random.pick(serving)
    const words = `${signal} of slot ${victim.slot}`
    const faults: Fault[] = []
    const strike = async (instance: InstanceAnswer): Promise<boolean> => {
      const targets = await targetsOf(processes, instance)
      this.#parts.signal.throwIfAborted()
      if (targets.length === 0) return false
      const fault: Fault = { kind, instance: victim.id, slot: victim.slot, at: Date.now(), until: Infinity }
      faults.push(fault)
      this.faults.push(fault)
      signalAll(targets, signal)
      return true
    }
    const mark: Mark = { at: Date.now(), until: null, kind: 'fault', words }
    if (!(await strike(victim))) {
      this.skipped.push(`${signal} of an instance: the processes of ${victim.id} are not on this machine, or not ours`)
      return
    }
    say(words)
    this.marks.push(mark)
    const gone = await then(victim, strike)
    mark.words = faults.length > 1 ? `${words}, ${faults.length} times` : words
    say(`waiting for slot ${victim.slot} to be back`)
    await this.#untilBack(victim, gone)
    while (this.#parts.observer.isDown(victim.id)) await sleep(100, undefined, { signal: this.#parts.signal })
    mark.until = Date.now()
    await sleep(SETTLE_MS, undefined, { signal: this.#parts.signal })
    for (const fault of faults) fault.until = Date.now()
  }

  /**
   * @param oldPid the process that must be another one, or null
   * @returns it as it is then
   */
  async #untilBack(victim: InstanceAnswer, oldPid: number | null): Promise<InstanceAnswer> {
    for (const end = performance.now() + RECOVERY_TIMEOUT_MS; performance.now() < end; ) {
      const now = (await this.#serving()).find(({ slot }) => slot === victim.slot)
      if (now?.state === 'running' && now.pid !== undefined && now.pid !== oldPid) return now
      await sleep(100, undefined, { signal: this.#parts.signal })
    }
    throw new Error(`slot ${victim.slot} was not back after ${RECOVERY_TIMEOUT_MS / 1000} s`)
  }

  async #serving(): Promise<InstanceAnswer[]> {
    const instances = await this.#parts.target.api.instances(this.#parts.target.app)
    return instances.filter(({ role }) => role === 'serving')
  }

  /** A deployment of this version; a broken one has a command that ends at once. */
  async deploy(version: string, how: 'whole' | 'broken' = 'whole'): Promise<void> {
    const { target } = this.#parts
    const body = await target.deployment(version)
    if (body === null) {
      const why = 'the app was deployed with environment values, which nobody can read back'
      if (how === 'broken') {
        this.skipped.push(`a deployment that fails: ${why}`)
        return
      }
      this.skipped.push(`a deployment, in whose place the app was restarted: ${why}`)
      await this.restart()
      return
    }
    const broken = { command: ['sh', '-c', 'echo broken on purpose, by a load test >&2; exit 3'] }
    await this.operate(
      how === 'broken' ? 'deployment that fails' : `deployment of version ${version}`,
      'POST',
      `/api/2.0/apps/${target.app}/deployments`,
      { ...body, ...(how === 'broken' && broken) },
      how === 'broken' ? 'FAILED' : 'SUCCEEDED',
    )
  }

  /**
   * The number of instances, which makes a scaled app of a standard one (with 1 first), or null, which makes it standard
   * again (R5.0).
   */
  async scale(instances: number | null, words: string): Promise<void> {
    const count = instances === null ? {} : { compute_min_instances: instances, compute_max_instances: instances }
    const { app } = this.#parts.target
    await this.operate(words, 'POST', `/api/2.0/apps/${app}/update`, {
      update_mask: INSTANCES_MASK,
      app: count,
    })
  }

  async isScaled(): Promise<boolean> {
    const { api, app } = this.#parts.target
    return (await api.app(app)).mode === 'scaled'
  }

  /** A standard app has the pre-installed libraries (R5.0), and one that gave them up would have them from then on. */
  async survivesConversion(): Promise<boolean> {
    const { api, app } = this.#parts.target
    const { mode, effective_compatibility_flags: flags = [] } = await api.app(app)
    if (mode === 'standard' || flags.length > 0) return true
    this.skipped.push(
      'a conversion: the app has given up the pre-installed libraries, and would have them again as a standard app',
    )
    return false
  }

  /** Sessions move to slots that have fewer than their share (R8.3). */
  async rebalance(): Promise<void> {
    const { target, say, signal } = this.#parts
    signal.throwIfAborted()
    const path = `/api/coppice/v1/apps/${target.app}/rebalance`
    const at = Date.now()
    const { epoch, at_most } = await target.api.call<{ epoch: number; at_most: number }>('POST', path, {})
    const words = `rebalance of at most ${at_most} sessions`
    say(words)
    this.marks.push({ at, until: Date.now(), kind: 'operation', words })
    this.rebalances.push({ at, epoch, atMost: at_most, moved: null })
    if (at_most === 0) this.skipped.push('rebalancing: by the counts of the routers no slot had more than its share')
  }

  /** What rebalancing has moved by now: whoever asks again moves then, and routers tell it with their next report. */
  async countRebalanced(): Promise<void> {
    const { api, app } = this.#parts.target
    for (const rebalance of this.rebalances) {
      const path = `/api/coppice/v1/apps/${app}/rebalance`
      const { epoch, moved } = await api.call<{ epoch: number; moved: number }>('GET', path)
      if (epoch !== rebalance.epoch) continue
      rebalance.moved = moved
      const mark = this.marks.find(({ at }) => at === rebalance.at)
      if (mark !== undefined) mark.words = `rebalance: ${moved} of at most ${rebalance.atMost} sessions moved`
    }
  }

  /** New instances of the same deployment. */
  restart(): Promise<void> {
    return this.operate('restart', 'POST', `/api/coppice/v1/apps/${this.#parts.target.app}/restart`, {})
  }

  /** Any operation of the API, watched to its end. */
  async operate(
    words: string,
    method: string,
    path: string,
    body: unknown,
    wanted: SeenOperation['wanted'] = 'SUCCEEDED',
  ): Promise<void> {
    const { target, say, signal } = this.#parts
    signal.throwIfAborted()
    say(words)
    const mark: Mark = { at: Date.now(), until: null, kind: 'operation', words }
    this.marks.push(mark)
    const id = target.api.start(method, path, body)
    // What is so already needs no operation.
    const ended = await this.#toItsEnd(id.then((one) => (one === null ? null : untilEnded(target.api, one))))
    mark.until = Date.now()
    if (ended !== null) this.operations.push(seenOperation(ended, wanted))
  }
}

function seenOperation(answer: OperationAnswer, wanted: SeenOperation['wanted']): SeenOperation {
  const time = (text: string | undefined) => (text === undefined ? null : Date.parse(text))
  return {
    id: answer.id,
    type: answer.type,
    state: answer.state,
    wanted,
    deployment: answer.deployment_id ?? null,
    startedAt: Date.parse(answer.request_time),
    endedAt: time(answer.end_time),
    failure: answer.failure?.message ?? null,
    steps: answer.steps.map((step) => ({
      step: step.step,
      words: step.words,
      detail: step.detail ?? '',
      startedAt: Date.parse(step.start_time),
      endedAt: time(step.end_time),
    })),
  }
}
