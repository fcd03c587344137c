/** Waits for an operation and shows its steps as they happen (R9.3). */
import { setTimeout as sleep } from 'node:timers/promises'
import type { HistoryEvent } from '../domain/records.ts'
import type { Api, OperationAnswer } from './api.ts'
import { ApiError, OperationFailed, Unreachable } from './failure.ts'
import { duration, type Output } from './output.ts'

export type FollowOptions = {
  /** How long the platform may be away, in ms, before waiting for it is given up. The operation goes on meanwhile. */
  patienceMs?: number
  /** How often the record is read beside the stream, in ms: proxies may hold streams back. */
  pollMs?: number
}

/**
 * Returns when the operation has succeeded.
 *
 * @throws OperationFailed; Unreachable when the platform stays away.
 */
export async function follow(
  api: Api,
  id: string,
  output: Output,
  options: FollowOptions = {},
): Promise<OperationAnswer> {
  const progress = new Progress(output)
  const ended = new AbortController()
  const streaming = streamSteps(api, id, progress, ended.signal)
  try {
    const told = streaming.then((seen) => (seen ? read(api, id) : new Promise<never>(() => {})))
    const operation = await Promise.race([told, untilEnded(api, id, progress, ended.signal, options)])
    // What the stream has not shown yet, e.g. when the operation ended between two reads.
    for (const step of operation.steps ?? []) if (step.state !== 'running') progress.recorded(step)
    if (operation.state !== 'SUCCEEDED') throw new OperationFailed(operation, operation.failure ?? null)
    return operation
  } finally {
    ended.abort()
    progress.end()
    await streaming.catch(() => {})
  }
}

const read = (api: Api, id: string): Promise<OperationAnswer> =>
  api.call<OperationAnswer>('GET', `/api/coppice/v1/operations/${encodeURIComponent(id)}`)

const hasEnded = (state: unknown): boolean => state === 'SUCCEEDED' || state === 'FAILED' || state === 'CANCELLED'

/** Shows steps until an event says that the operation has ended (true), coming back after every loss. */
async function streamSteps(api: Api, id: string, progress: Progress, signal: AbortSignal): Promise<boolean> {
  const path = `/api/coppice/v1/events?operation=${encodeURIComponent(id)}`
  let lastId = '0'
  while (!signal.aborted) {
    try {
      for await (const event of api.events(path, { signal, lastId })) {
        lastId = event.id
        const happened = event.data as HistoryEvent
        progress.event(happened)
        if (happened.kind === 'operation' && hasEnded(happened.data?.state)) return true
      }
    } catch (error) {
      // Whether the platform is away for too long is for `untilEnded` to say.
      if (!(error instanceof Unreachable || error instanceof ApiError)) throw error
    }
    await sleep(300, undefined, { signal }).catch(() => {})
  }
  return false
}

async function untilEnded(
  api: Api,
  id: string,
  progress: Progress,
  signal: AbortSignal,
  { patienceMs = 60_000, pollMs = 2_000 }: FollowOptions,
): Promise<OperationAnswer> {
  let lastSeen = performance.now()
  for (;;) {
    try {
      const operation = await read(api, id)
      if (hasEnded(operation.state)) return operation
      lastSeen = performance.now()
      progress.reachable(true)
    } catch (error) {
      if (!(error instanceof Unreachable) || performance.now() - lastSeen > patienceMs) throw error
      progress.reachable(false)
    }
    await sleep(pollMs, undefined, { signal })
  }
}

type StepNote = { words: string; detail: string; startedAt: number }

/** One line a finished step; on a terminal also what is being done, with the time it takes. */
class Progress {
  readonly #output: Output
  readonly #running = new Map<string, StepNote>()
  readonly #shown = new Set<string>()
  readonly #ticker: NodeJS.Timeout | null
  #reachable = true

  constructor(output: Output) {
    this.#output = output
    this.#ticker = output.live ? setInterval(() => this.#tick(), 100) : null
  }

  event({ kind, data, at }: HistoryEvent): void {
    if (kind !== 'step' || data === null) return
    const { step, words, state, detail } = data as { step: string; words: string; state: string; detail: string }
    const known = this.#running.get(step) ?? { words, detail: '', startedAt: at }
    if (detail !== '') known.detail = detail
    if (state === 'running') {
      this.#running.set(step, known)
      this.#tick()
    } else this.#finish(step, state, known, at - known.startedAt)
  }

  recorded(step: { step: string; words: string; state: string; detail: string; duration_ms?: number }): void {
    this.#finish(step.step, step.state, { words: step.words, detail: step.detail, startedAt: 0 }, step.duration_ms)
  }

  reachable(is: boolean): void {
    if (is === this.#reachable) return
    this.#reachable = is
    this.#output.note(is ? '  The platform answers again.' : '  The platform does not answer; still waiting …')
  }

  end(): void {
    if (this.#ticker !== null) clearInterval(this.#ticker)
    this.#output.clearStatus()
  }

  #finish(step: string, state: string, { words, detail }: StepNote, ms?: number): void {
    this.#running.delete(step)
    if (this.#shown.has(step)) return
    this.#shown.add(step)
    const { green, red, yellow, dim } = this.#output.colors
    const sign = state === 'done' ? green('✓') : state === 'undone' ? yellow('↶') : red('✗')
    const time = ms === undefined ? '' : ` (${duration(ms)})`
    this.#output.note(`${sign} ${words}${dim(`${time}${detail === '' ? '' : `  ${detail}`}`)}`)
  }

  #tick(): void {
    const now = Date.now()
    const doing = [...this.#running.values()].map(
      ({ words, detail, startedAt }) =>
        `${words}${detail === '' ? '' : `: ${detail}`} ${duration(Math.max(0, now - startedAt))}`,
    )
    if (doing.length > 0) this.#output.status(`… ${doing.join(' · ')}`)
  }
}
