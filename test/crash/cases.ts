/**
 * The cases of the crash suite (DESIGN D17): every operation × every kind of step that it takes × every moment of that
 * step × every fault. Steps and moments come from `activities/steps.ts`; nothing is picked by hand.
 */
import type { Moment } from '../../activities/faults.ts'
import { MOMENTS_OF, STEP_KINDS, type StepKind } from '../../activities/steps.ts'
import { OPERATION_NAMES, type OperationName, operationOf } from './operations.ts'
import { type Random, seededRandom } from './random.ts'

export const FAULTS = ['kill worker', 'kill control', 'kill temporal', 'terminate', 'cancel'] as const
export type Fault = (typeof FAULTS)[number]

/** Why an operation undoes itself before it is interrupted in that. */
export type UndoCause = 'crash' | 'cancel'

export type CrashCase = {
  operation: OperationName
  kind: StepKind
  moment: Moment
  fault: Fault
  /** For the steps of the undo. */
  cause: UndoCause | null
}

/** How the operation has to end. `by its record`: both are right, if record and world say the same. */
export type End = 'new' | 'old' | 'by its record'

/** The steps of an operation in their order, those of its undo included. */
export function stepsOf(name: OperationName): StepKind[] {
  const { steps, fuse } = operationOf(name)
  const taken: StepKind[] = ['admit', ...steps, 'commit', 'finish', 'abandon']
  if (fuse !== null) taken.push('remove')
  return (Object.keys(STEP_KINDS) as StepKind[]).filter((kind) => taken.includes(kind))
}

export function allCases(): CrashCase[] {
  const cases: CrashCase[] = []
  for (const operation of OPERATION_NAMES)
    for (const kind of stepsOf(operation))
      for (const moment of MOMENTS_OF[STEP_KINDS[kind].shape])
        for (const cause of causesOf(operation, kind))
          for (const fault of FAULTS) cases.push({ operation, kind, moment, fault, cause })
  return cases
}

function causesOf(operation: OperationName, kind: StepKind): Array<UndoCause | null> {
  if (STEP_KINDS[kind].phase !== 'undo') return [null]
  return operationOf(operation).fuse === null ? ['cancel'] : ['crash', 'cancel']
}

export function endOf({ operation, kind, moment, fault }: CrashCase): End {
  const { phase } = STEP_KINDS[kind]
  if (phase === 'undo') return 'old'
  // Whatever is killed, the saga goes on; and past the pivot nothing leads back.
  if (fault.startsWith('kill') || phase === 'retriable') return 'new'
  const next = stepsOf(operation).find((each) => each !== 'admit')
  if (phase === 'compensable') {
    // Where nothing lies between admission and pivot, the worker does both before it asks the server for more.
    return kind === 'admit' && next === 'commit' && fault === 'terminate' ? 'by its record' : 'old'
  }
  // A cancel of the pivot is too late. A workflow that is ended leaves the pivot to the worker that has it in hand, if
  // that is quicker than the repair.
  return fault === 'terminate' && moment === 'before' ? 'by its record' : 'new'
}

export const nameOf = ({ operation, kind, moment, fault, cause }: CrashCase): string =>
  `${operation}: ${fault} at ${kind}.${moment}${cause === null ? '' : ` of the undo after a ${cause}`}`

/** For each fault one case of every operation, drawn by the seed. */
export function sample(seed: number): CrashCase[] {
  const random = seededRandom(seed)
  const all = allCases()
  return FAULTS.flatMap((fault) =>
    OPERATION_NAMES.map((operation) =>
      random.pick(all.filter((each) => each.fault === fault && each.operation === operation)),
    ),
  )
}

/** Cases at once: as many as a machine with two cores carries, with two or three instances each. */
const AT_ONCE = 12
/** Of one operation, so that a round has many. */
const OF_ONE_OPERATION = 2

/**
 * Cases that are carried out together, all with the same fault, so that one kill is met by a dozen sagas, each at
 * another step.
 */
export function rounds(cases: readonly CrashCase[], random: Random): CrashCase[][] {
  const result: CrashCase[][] = []
  for (const fault of FAULTS) {
    const queues = OPERATION_NAMES.map((operation) =>
      random.shuffled(cases.filter((each) => each.fault === fault && each.operation === operation)),
    )
    while (queues.some((queue) => queue.length > 0)) {
      const longestFirst = queues.toSorted((a, b) => b.length - a.length)
      const round = Array.from({ length: OF_ONE_OPERATION }).flatMap(() => longestFirst.flatMap((q) => q.splice(0, 1)))
      result.push(round.slice(0, AT_ONCE))
      // What did not fit waits for the next round.
      for (const each of round.slice(AT_ONCE)) queues[OPERATION_NAMES.indexOf(each.operation)]?.push(each)
    }
  }
  return random.shuffled(result)
}
