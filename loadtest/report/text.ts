import pc from 'picocolors'
import { describeFinding } from '../check/finding.ts'
import type { ScenarioResult } from '../runner/run-scenario.ts'

const SHOWN_FINDINGS = 5

/** The verdict on a terminal. */
export function tellResult(result: ScenarioResult, out: { write(text: string): unknown }): void {
  const { scenario, words, verdict, history, moves, skipped, startedAt, endedAt } = result
  const seconds = ((endedAt - startedAt) / 1000).toFixed(0)
  const head = { held: pc.green('held'), broken: pc.red('BROKEN'), unfit: pc.yellow('harness unfit') }[verdict.outcome]
  const lines = [
    '',
    `${pc.bold(scenario)}: ${words}: ${head}`,
    `  ${history.length} requests of ${moves.sessions} sessions in ${seconds} s, ${moves.moved} moves of sessions`,
    ...skipped.map((what) => pc.yellow(`  left out: ${what}`)),
    ...verdict.unfit.map((why) => pc.yellow(`  unfit: ${why}`)),
  ]
  // What an unfit run did not find proves nothing.
  const none = verdict.outcome === 'unfit' ? pc.yellow('?') : pc.green('✓')
  for (const { name, rule, words: promise, count, findings, by } of verdict.rows) {
    lines.push(`  ${count === 0 ? none : pc.red('✗')} ${count} ${promise} ${pc.dim(`${rule}, ${by} ${name}`)}`)
    for (const found of findings.slice(0, SHOWN_FINDINGS)) lines.push(`    ${describeFinding(found)}`)
    if (findings.length > SHOWN_FINDINGS) lines.push(`    and ${findings.length - SHOWN_FINDINGS} more`)
  }
  out.write(`${lines.join('\n')}\n\n`)
}
