import { type Attempt, formatAttempt } from '../history-line.ts'
import type { FindingKind } from '../promises.ts'

/** One case in which a promise was broken. */
export type Finding = { kind: FindingKind; at: number; message: string; attempt?: Attempt }

export const finding = (kind: FindingKind, attempt: Attempt, message: string): Finding => ({
  kind,
  at: attempt.startedAt,
  message,
  attempt,
})

/** For logs: what was found, and the line of the history. */
export const describeFinding = ({ message, attempt }: Finding): string =>
  attempt === undefined ? message : `${message}\n    ${formatAttempt(attempt)}`
