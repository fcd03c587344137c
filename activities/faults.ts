/**
 * The points at which a saga can be interrupted (DESIGN D17): of each step before its effect, after its effect, and
 * after its record in the inventory but before Temporal hears of it. Crash tests hold a worker at one of them and do
 * to it, or to anything else, what they want; otherwise passing a point costs nothing.
 */
import type { StepName } from './steps.ts'

export const MOMENTS = ['before', 'effect', 'recorded'] as const
export type Moment = (typeof MOMENTS)[number]

/** Whose step it is. The app is given where the operation need not be in the inventory yet. */
export type StepOwner = { operation: string; app?: string }

/** Called at a point; its promise is awaited. `step` is the name of the step in the inventory, e.g. `build`. */
export type Faults = (step: StepName, moment: Moment, of: StepOwner) => Promise<void>

export const noFaults: Faults = async () => {}
