/** What a run has left to be judged by. */
import type { Attempt } from '../history-line.ts'
import type { SummaryData } from '../k6/summary.ts'
import type { Execution, Passage } from './delivery.ts'
import type { Finding } from './finding.ts'
import type { World } from './world.ts'

export type Evidence = {
  history: Attempt[]
  /** Null where the app writes no journal, and the routers no log that we can read. */
  executions: Execution[] | null
  passages: Passage[] | null
  world: World
  /** What the stack left behind; null where it was not measured. */
  leftBehind?: Finding[] | null
  /** k6's own summary; null where it left none. */
  summary: SummaryData | null
}

export type JudgeOptions = {
  lossRule?: string
  /** From whom the clients were to hear which instance answered. */
  namedBy?: 'router' | 'app'
  /** Why the run ended early; null when it did not. */
  cutShort?: string | null
  /** Whether all that the scenario does to the app had to be left out. */
  nothingDone?: boolean
}
