/**
 * A step of a saga whose effect lies outside of the store: written down when it begins and when it ends, so that a
 * rerun returns its outcome and people see it in plain words (DESIGN D4, D16).
 */
import { cancellationSignal, heartbeat } from '@temporalio/activity'
import type { Operations, StepRef } from '../store/operations.ts'
import { toFailure } from './failure.ts'
import { type Faults, noFaults } from './faults.ts'
import type { StepName } from './steps.ts'

/** A third of the shortest heartbeat timeout that the workflows use. */
const HEARTBEAT_MS = 1_000

export type StepContext = {
  /** Aborted when the saga is cancelled or the worker shuts down. */
  signal: AbortSignal
  /** Says what the step is at. */
  note: (words: string) => void
}

/** A step by its name in the inventory, which begins with its kind. */
export type NamedStep = StepRef & { step: StepName<'effect'> }

type Effect<T> = (outcome: T) => NonNullable<Parameters<Operations['endStep']>[2]>

export type StepDeps = { store: { operations: Operations }; faults?: Faults }

/**
 * @param work the effect.
 * @param effect what is written into the inventory together with the outcome.
 */
export async function withStep<T>(
  { store: { operations }, faults = noFaults }: StepDeps,
  ref: NamedStep,
  work: (step: StepContext) => Promise<T>,
  effect?: Effect<T>,
): Promise<T> {
  const signal = cancellationSignal()
  const pulse = setInterval(() => heartbeat(), HEARTBEAT_MS)
  let noted: Promise<unknown> = Promise.resolve()
  try {
    const done = await operations.beginStep<T>(ref)
    if (done !== null) return done.outcome
    await faults(ref.step, 'before', ref)
    const note = (words: string) => {
      heartbeat()
      noted = noted.then(() => operations.noteStep(ref, words)).catch(() => {})
    }
    const outcome = await work({ signal, note })
    await noted
    await faults(ref.step, 'effect', ref)
    const recorded = await operations.endStep(ref, outcome, effect?.(outcome))
    await faults(ref.step, 'recorded', ref)
    return recorded
  } catch (error) {
    await noted
    // On a full disk not even this can be written down, and the cause must not be lost for it.
    if (!signal.aborted)
      await operations.noteStep(ref, error instanceof Error ? error.message : String(error), 'failed').catch(() => {})
    throw toFailure(error, signal)
  } finally {
    clearInterval(pulse)
  }
}

/** A step that belongs to an undo or to the cleaning up of a repair: no outcome to remember, done as often as asked. */
export async function pulsing<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const signal = cancellationSignal()
  const pulse = setInterval(() => heartbeat(), HEARTBEAT_MS)
  try {
    return await work(signal)
  } catch (error) {
    throw toFailure(error, signal)
  } finally {
    clearInterval(pulse)
  }
}
