/**
 * The cases of the crash suite (DESIGN D17): every operation × every kind of step that it takes × every moment of that
 * step × every fault. Steps and moments come from `activities/steps.ts`; nothing is picked by hand.
 */
import type { Moment } from '../../activities/faults.ts'
import { MOMENTS_OF, STEP_KINDS, type StepKind } from '../../activities/steps.ts'
import { OPERATION_NAMES, type OperationName, operationOf } from './operations.ts'
import { type Random, seededRandom } from './random.ts'

export const FAULTS = ['kill worker', 'kill control', 'kill temporal', 'kill router', 'terminate', 'cancel'] as const
export type Fault = (typeof FAULTS)[number]

/**
 * What happened to the operation before it is interrupted: a crash or a cancel, so that it undoes itself, or its workflow
 * was ended from outside, so that a repair takes it back or forward.
 */
export const CAUSES = ['crash', 'cancel', 'end before the pivot', 'end after the pivot'] as const
export type Cause = (typeof CAUSES)[number]

export type CrashCase = {
  operation: OperationName
  kind: StepKind
  moment: Moment
  fault: Fault
  /** For the steps of an undo or of a repair. */
  cause: Cause | null
}

/** How the operation has to end. `by its record`: both are right, if record and world say the same. */
export type End = 'new' | 'old' | 'by its record'

const KINDS = Object.keys(STEP_KINDS) as StepKind[]

/** The steps of an operation in their order, those of its undo included. */
export function stepsOf(name: OperationName): StepKind[] {
  const { steps, fuse } = operationOf(name)
  const taken: StepKind[] = ['admit', ...steps, 'commit', 'finish', 'abandon']
  if (fuse !== null) taken.push('remove')
  return KINDS.filter((kind) => taken.includes(kind))
}

/** The steps of the repair of an operation that lost its workflow. */
function repairOf(name: OperationName, cause: Cause): StepKind[] {
  const phase = cause === 'end before the pivot' ? 'undo' : 'retriable'
  return ['takeOver', ...stepsOf(name).filter((kind) => STEP_KINDS[kind].phase === phase)]
}

export function allCases(): CrashCase[] {
  const cases: CrashCase[] = []
  for (const operation of OPERATION_NAMES)
    for (const kind of KINDS)
      for (const moment of MOMENTS_OF[STEP_KINDS[kind].shape])
        for (const cause of causesOf(operation, kind))
          for (const fault of FAULTS) cases.push({ operation, kind, moment, fault, cause })
  return cases
}

function causesOf(operation: OperationName, kind: StepKind): Array<Cause | null> {
  const { fuse } = operationOf(operation)
  const causes: Array<Cause | null> = CAUSES.filter((cause) => {
    if (cause.startsWith('end ')) return repairOf(operation, cause).includes(kind)
    return (
      stepsOf(operation).includes(kind) && STEP_KINDS[kind].phase === 'undo' && (cause === 'cancel' || fuse !== null)
    )
  })
  const forward = stepsOf(operation).includes(kind) && STEP_KINDS[kind].phase !== 'undo'
  return forward ? [null, ...causes] : causes
}

export function endOf({ operation, kind, moment, fault, cause }: CrashCase): End {
  if (cause !== null) return cause === 'end after the pivot' ? 'new' : 'old'
  const { phase } = STEP_KINDS[kind]
  // Whatever is killed, the saga goes on; and past the pivot nothing leads back.
  if (fault.startsWith('kill') || phase === 'retriable') return 'new'
  const next = stepsOf(operation).find((each) => each !== 'admit')
  if (phase === 'compensable') {
    // Where nothing lies between admission and pivot, the worker does both before it asks the server for more.
    return kind === 'admit' && next === 'commit' && fault === 'terminate' ? 'by its record' : 'old'
  }
  // The worker has the pivot in hand, and a cancel or the end of the workflow is too late. Unless the worker is so busy that
  // its task times out, and the workflow sees the cancel first; or that the repair is quicker. Both fence the pivot off.
  return moment === 'before' ? 'by its record' : 'new'
}

export const nameOf = ({ operation, kind, moment, fault, cause }: CrashCase): string =>
  `${operation}: ${fault} at ${kind}.${moment}${cause === null ? '' : ` of the ${wayOf(cause)}`}`

/** What an operation is on after this cause. */
export const wayOf = (cause: Cause): string =>
  cause.startsWith('end ') ? `repair after an ${cause}` : `undo after a ${cause}`

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
