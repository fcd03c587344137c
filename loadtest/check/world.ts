/**
 * What happened to the app during a run, as the runner saw it from outside: route tables, operations, faults. Together
 * with the clients' history it decides which answers were right. All times are Unix ms of one machine.
 */
import type { Rebalance } from '../../domain/affinity.ts'

/** A route table from the moment the runner received it; routers may have used it a little earlier or later. */
export type SeenTable = {
  at: number
  version: number
  /** Whether sessions stick (a scaled app). */
  affinity: boolean
  rebalance: Rebalance | null
  endpoints: Array<{ instance: string; slot: number; state: 'serving' | 'draining'; deployment: string | null }>
}

/**
 * A time in which an instance may not have answered. After a kill, a hang (it is stopped) or an ejection sessions at home in
 * its slot may be elsewhere; with one that is only `busy` they wait (R12.2).
 */
export type Fault = {
  kind: 'kill' | 'hang' | 'busy' | 'ejected'
  instance: string
  slot: number
  at: number
  /** When it served again for certain; Infinity when it did not. */
  until: number
  /** When the runner saw it; it began earlier where a report told it. */
  seenAt?: number
}

export type SeenStep = { step: string; words: string; startedAt: number; endedAt: number | null; detail?: string }

export type SeenOperation = {
  id: string
  type: string
  state: string
  /** How it was meant to end. */
  wanted: 'SUCCEEDED' | 'FAILED'
  deployment: string | null
  startedAt: number
  endedAt: number | null
  failure: string | null
  steps: SeenStep[]
}

/** A rebalance with what it was to move at most, and what the routers say it moved; null until they were asked. */
export type SeenRebalance = { at: number; epoch: number; atMost: number; moved: number | null }

export type World = {
  tables: SeenTable[]
  faults: Fault[]
  operations: SeenOperation[]
  rebalances: SeenRebalance[]
  /** What the app says it is (`APP_VERSION`), oldest first. */
  versions: string[]
  /** How long the slowest handler takes, ms. */
  slowestMs: number
}

/** How much earlier than the runner a router may have had a table, and how exact the clocks of a busy machine are. */
const SKEW_MS = 300
/** Until when routers may still use the table before, where no acknowledgement was seen. */
const UNACKNOWLEDGED_MS = 1_500

/** From when to when routers may have used each table. */
export function tableTimes(world: World): Array<{ table: SeenTable; from: number; to: number }> {
  return world.tables.map((table, index) => {
    const next = world.tables[index + 1]
    return {
      table,
      from: index === 0 ? -Infinity : table.at - SKEW_MS,
      to: next === undefined ? Infinity : acknowledgedAt(world, next) + SKEW_MS,
    }
  })
}

/**
 * When every router had this table or a later one: at the end of a step that waits for that, `publish/<version>`. No
 * step waits for tables that say only how instances are.
 */
function acknowledgedAt(world: World, table: SeenTable): number {
  let earliest = Infinity
  for (const { step, endedAt } of world.operations.flatMap(({ steps }) => steps)) {
    const version = Number(/^publish\/(\d+)$/.exec(step)?.[1] ?? Number.NaN)
    // Routers may be slow with what is waited for; the step says when they had it, or that they never had.
    if (version === table.version) return endedAt ?? Infinity
    if (version > table.version && endedAt !== null) earliest = Math.min(earliest, endedAt)
  }
  return Math.min(earliest, table.at + UNACKNOWLEDGED_MS)
}

/** Whether this slot may have been unreachable at some time between. */
export const mayBeDown = (world: World, slot: number, from: number, to: number): boolean =>
  world.faults.some(
    (fault) =>
      fault.kind !== 'busy' && fault.slot === slot && fault.at - SKEW_MS <= to && fault.until + SKEW_MS >= from,
  )

export { SKEW_MS }
