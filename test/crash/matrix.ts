/** The outcome of many cases as text: rows step kind × moment, columns fault × operation. */
import { MOMENTS } from '../../activities/faults.ts'
import { STEP_KINDS } from '../../activities/steps.ts'
import { CAUSES, FAULTS, nameOf, wayOf } from './cases.ts'
import { OPERATION_NAMES, operationOf } from './operations.ts'
import type { CaseResult } from './round.ts'

const STEP_ORDER = Object.keys(STEP_KINDS)

/** `.` held, `F` failed, blank: there is no such case, or it was not run. */
export function matrix(results: readonly CaseResult[]): string {
  const rowOf = ({ case: each }: CaseResult) =>
    `${each.kind}.${each.moment}${each.cause === null ? '' : ` (${wayOf(each.cause)})`}`
  // In the order of a saga: steps as they are listed, undo and repairs last.
  const place = ({ case: each }: CaseResult) =>
    (each.cause === null ? 0 : CAUSES.indexOf(each.cause) + 1) * 1000 +
    STEP_ORDER.indexOf(each.kind) * 10 +
    MOMENTS.indexOf(each.moment)
  const rows = [...new Set(results.toSorted((a, b) => place(a) - place(b)).map(rowOf))]
  const width = Math.max(...rows.map((row) => row.length), 0) + 2
  const letters = OPERATION_NAMES.map((name) => operationOf(name).letter).join('')
  const cell = (row: string, fault: string, operation: string): string => {
    const found = results.filter(
      (each) => rowOf(each) === row && each.case.fault === fault && each.case.operation === operation,
    )
    if (found.length === 0) return ' '
    return found.some(({ failures }) => failures.length > 0) ? 'F' : '.'
  }
  const gap = '  '
  const column = letters.length + 4
  const head = FAULTS.map((fault) => fault.padEnd(column)).join(gap)
  const body = rows.map(
    (row) =>
      row.padEnd(width) +
      FAULTS.map((fault) =>
        OPERATION_NAMES.map((name) => cell(row, fault, name))
          .join('')
          .padEnd(column),
      ).join(gap),
  )
  const legend = OPERATION_NAMES.map((name) => `${operationOf(name).letter} ${name}`).join(', ')
  return [
    `${' '.repeat(width)}${head}`,
    `${' '.repeat(width)}${FAULTS.map(() => letters.padEnd(column)).join(gap)}`,
    ...body,
    legend,
  ].join('\n')
}

export const failuresOf = (results: readonly CaseResult[]): string[] =>
  results
    .filter(({ failures }) => failures.length > 0)
    .map(({ case: each, failures }) => `${nameOf(each)}\n${failures.map((words) => `    ${words}`).join('\n')}`)
