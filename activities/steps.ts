/**
 * Every kind of step that a saga takes, and where in the saga it lies. There is no other list: activities can name only
 * these, and the crash suite (DESIGN D17) makes its cases from them, so that a new kind without cases does not pass.
 *
 * `phase` tells how a saga ends that was ended from outside at this step: back before the pivot, forward after it. A
 * `repair` takes the way of the operation that it takes over.
 * `shape` tells which moments a step has: a `transaction` is effect and record in one; an `effect` lies outside of the
 * store and is recorded afterwards; what is `unrecorded` is done as often as it is asked for.
 */
import type { Moment } from './faults.ts'

type Kind = {
  phase: 'compensable' | 'pivot' | 'retriable' | 'undo' | 'repair'
  shape: 'transaction' | 'effect' | 'unrecorded'
}

export const STEP_KINDS = {
  admit: { phase: 'compensable', shape: 'transaction' },
  snapshot: { phase: 'compensable', shape: 'effect' },
  build: { phase: 'compensable', shape: 'effect' },
  start: { phase: 'compensable', shape: 'effect' },
  commit: { phase: 'pivot', shape: 'transaction' },
  publish: { phase: 'retriable', shape: 'effect' },
  drain: { phase: 'retriable', shape: 'effect' },
  stop: { phase: 'retriable', shape: 'effect' },
  finish: { phase: 'retriable', shape: 'transaction' },
  remove: { phase: 'undo', shape: 'unrecorded' },
  abandon: { phase: 'undo', shape: 'transaction' },
  takeOver: { phase: 'repair', shape: 'transaction' },
} as const satisfies Record<string, Kind>

export type StepKind = keyof typeof STEP_KINDS

export const MOMENTS_OF = {
  transaction: ['before', 'recorded'],
  effect: ['before', 'effect', 'recorded'],
  unrecorded: ['before', 'effect'],
} as const satisfies Record<Kind['shape'], readonly Moment[]>

type KindOf<Shape> = { [K in StepKind]: (typeof STEP_KINDS)[K]['shape'] extends Shape ? K : never }[StepKind]

/** Name of a step in the inventory: its kind, and what it is done to where an operation has several of a kind. */
export type StepName<Shape extends Kind['shape'] = Kind['shape']> = KindOf<Shape> | `${KindOf<Shape>}/${string}`
