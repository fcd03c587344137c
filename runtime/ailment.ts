import type { Clock } from './clock.ts'
import type { InstanceRecord, Observation, ObservedPatch } from './contracts.ts'

/** What a running instance may suffer from (R12.2). Each may end by itself; when one lasts, the instance is started anew. */
export type Ailment =
  | { kind: 'suspended' }
  /** Routers have waited for longer than its app allows, and say so since then (Unix ms by the inventory's clock). */
  | { kind: 'silent'; since: number }

/** A suspended instance is silent as well; that it is suspended is known, and says more. */
export function ailmentOf(
  seen: Extract<Observation, { state: 'running' }>,
  silentSince: number | null,
): Ailment | null {
  if (seen.suspended) return { kind: 'suspended' }
  return silentSince === null ? null : { kind: 'silent', since: silentSince }
}

/** Silence that began later is another one: there was an answer in between. */
export function isSame(a: Ailment, b: Ailment): boolean {
  return a.kind === 'silent' && b.kind === 'silent' ? a.since === b.since : a.kind === b.kind
}

/** Which one is written down; `restartAt` of an instance that runs is the end of the time that it is given. */
export function notedAilment({
  observed,
  restartAt,
}: Pick<InstanceRecord, 'observed' | 'restartAt'>): Ailment['kind'] | null {
  if (observed === 'suspended') return 'suspended'
  return observed === 'running' && restartAt !== null ? 'silent' : null
}

export function noteOf(ailment: Ailment, restartAt: number): ObservedPatch {
  return ailment.kind === 'suspended'
    ? { observed: 'suspended', restartAt, message: 'It was stopped by a signal.' }
    : {
        observed: 'running',
        restartAt,
        message: `It does not answer; routers say so since ${new Date(ailment.since).toISOString()}.`,
      }
}

/** Why it is started anew, for people. */
export function whyAnew(ailment: Ailment, waitedMs: number): string {
  const long = `${waitedMs / 1_000} s`
  return ailment.kind === 'suspended'
    ? `It had been stopped by a signal for ${long}, so it is started again.`
    : `It had not answered for ${long} longer than its app allows, nor the worker when it asked, so it is started again.`
}

/** The time that an ailing instance is given to get well by itself. */
export class Patience {
  readonly ailment: Ailment
  readonly #aborter = new AbortController()
  readonly #cancel: () => void

  constructor(ailment: Ailment, clock: Clock, ms: number, whenOver: (patience: Patience) => void) {
    this.ailment = ailment
    this.#cancel = clock.after(ms, () => whenOver(this))
  }

  /** Aborted by `end`. */
  get signal(): AbortSignal {
    return this.#aborter.signal
  }

  end(): void {
    this.#cancel()
    this.#aborter.abort()
  }
}
