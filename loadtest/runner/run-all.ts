/** One scenario after the other, each on an app that is given back whatever happens. */
import type { ScenarioResult } from './run-scenario.ts'
import type { Target } from './target.ts'

export type Attempted = {
  results: ScenarioResult[]
  /** What went wrong beside the verdicts; an interruption is not among it. */
  failures: Error[]
}

export type RunAllParts = {
  targetOf(scenario: string): Promise<Target>
  run(scenario: string, target: Target): Promise<ScenarioResult>
  /** Whether the app is given back, or taken away where it is ours. */
  leaves(): boolean
  onResult(result: ScenarioResult): void
  signal: AbortSignal
}

export async function runAll(scenarios: string[], parts: RunAllParts): Promise<Attempted> {
  const { signal } = parts
  const attempted: Attempted = { results: [], failures: [] }
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work()
    } catch (error) {
      if (!isInterruption(error as Error, signal)) attempted.failures.push(error as Error)
    }
  }
  for (const scenario of scenarios) {
    if (signal.aborted || attempted.failures.length > 0) break
    await attempt(async () => {
      const target = await parts.targetOf(scenario)
      await attempt(async () => {
        const result = await parts.run(scenario, target)
        attempted.results.push(result)
        parts.onResult(result)
      })
      if (parts.leaves()) await target.leave()
    })
  }
  return attempted
}

export type Ending = {
  report(): Promise<void>
  /** Until somebody has seen enough, where that is wanted. */
  goOn(): Promise<void>
  stop(): Promise<void>
  signal: AbortSignal
}

/**
 * What comes after the scenarios: all of it, whatever fails, and that is told with the rest.
 *
 * @returns the exit code
 */
export async function conclude(attempted: Attempted, { report, goOn, stop, signal }: Ending): Promise<number> {
  // Whoever ends what went on running afterwards interrupts no test.
  const { aborted } = signal
  for (const step of [report, goOn, stop]) await step().catch((error: Error) => attempted.failures.push(error))
  return exitCode(attempted, { aborted })
}

export const isInterruption = (error: Error, signal: AbortSignal): boolean =>
  signal.aborted && (error === signal.reason || error.name === 'AbortError')

/** k6's own code for a threshold that was crossed; BSD's EX_TEMPFAIL for a harness that was unfit. */
export const EXIT = { held: 0, failed: 1, usage: 2, unfit: 75, broken: 99, interrupted: 130 } as const

export function exitCode({ results, failures }: Attempted, signal: Pick<AbortSignal, 'aborted'>): number {
  if (signal.aborted) return EXIT.interrupted
  if (failures.length > 0) return EXIT.failed
  if (results.some(({ verdict }) => verdict.outcome === 'broken')) return EXIT.broken
  return results.length > 0 && results.every(({ verdict }) => verdict.outcome === 'held') ? EXIT.held : EXIT.unfit
}
