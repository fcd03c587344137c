/**
 * Who holds the lock of an app (DESIGN D1). Whoever can reach Temporal can start a workflow under the id `app/<name>`;
 * while one runs that is none of this platform's operations, no operation on the app can begin.
 */
import { CoppiceError } from './errors.ts'
import { TASK_QUEUE } from './product.ts'
import { OPERATION_TYPES } from './states.ts'

export type LockHolder = {
  workflowId: string
  runId: string
  type: string
  taskQueue: string
  startTime: Date
  memo?: Record<string, unknown> | undefined
}

/** What an operation's workflow carries, so that other platforms in its namespace know whose it is. */
export const lockMemo = (inventory: string): Record<string, unknown> => ({ inventory })

/** Between the start of a workflow and its record, and between the end of an operation and the close of its workflow. */
export const PASSING_MS = 5_000

export type LockFacts = {
  inventory: string
  /** Whether the inventory has an operation of this run. */
  known: boolean
  /** Unix ms. */
  now: number
}

/** @returns why it is no operation of this platform, in words; null when it is one, or may be. */
export function whyForeign(holder: LockHolder, { inventory, known, now }: LockFacts): string | null {
  if (known) return null
  const owner = holder.memo?.inventory
  if (holder.taskQueue !== TASK_QUEUE)
    return `it waits on the task queue ${quoted(holder.taskQueue)}, and operations on ${quoted(TASK_QUEUE)}`
  if (typeof owner === 'string' && owner !== inventory)
    return `another platform, or an earlier data directory, started it in the same namespace (inventory ${owner})`
  // The worker answers whatever else comes to its queue: such a one closes within milliseconds, or gets its record.
  if (now - holder.startTime.getTime() < PASSING_MS) return null
  if (!OPERATION_TYPES.some((type) => type === holder.type)) return 'no operation has its type'
  return 'the inventory has no operation of this run, so another platform or an earlier data directory started it, or a worker is yet to take it up'
}

export const holderWords = ({ type, workflowId, runId, startTime }: LockHolder): string =>
  `the workflow ${type} (${workflowId}, run ${runId}) runs since ${startTime.toISOString()}`

/** Where the `temporal` program finds it. */
export type TemporalPlace = { address: string; namespace: string }

export function endCommand({ workflowId, runId }: LockHolder, { address, namespace }: TemporalPlace): string {
  const words = ['--address', address, '--namespace', namespace, '--workflow-id', workflowId, '--run-id', runId]
  return ['temporal workflow terminate', ...words.map(shellWord)].join(' ')
}

export const foreignLock = (app: string, holder: LockHolder, why: string, place: TemporalPlace): CoppiceError =>
  new CoppiceError(
    'ForeignWorkflow',
    `Cannot change app ${app}: ${foreignWords(holder, why)}. To end it: "${endCommand(holder, place)}"`,
    { app, workflow: holder.workflowId, run: holder.runId, type: holder.type, taskQueue: holder.taskQueue },
  )

/** The text of a stranger: quoted, and no longer than anybody reads. */
export function foreignWords({ workflowId, runId, type, startTime }: LockHolder, why: string): string {
  const which = `a workflow ${quoted(type)}, run ${runId}, since ${startTime.toISOString()}`
  return `the workflow id ${workflowId}, which only one operation at a time can have, is taken by ${which}; it is none of this platform's operations: ${why}`
}

const quoted = (text: string): string => JSON.stringify(text.slice(0, 100))

/** As a POSIX shell reads it back: an id may have anything in it. */
const shellWord = (text: string): string =>
  /^[\w./:@=-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`
