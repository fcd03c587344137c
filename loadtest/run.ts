/** `npm run loadtest -- <scenario|all>`: see runner/options.ts. */
import { join } from 'node:path'
import pc from 'picocolors'
import { CoppiceError } from '../domain/errors.ts'
import { startProgress } from '../scripts/progress.ts'
import { ROOT } from '../scripts/stack-options.ts'
import { resolveTool } from '../scripts/toolchain/resolve.ts'
import { writeReport } from './report/report.ts'
import { tellResult } from './report/text.ts'
import { helpText, type LoadTestOptions, resolveOptions } from './runner/options.ts'
import { runScenario, type ScenarioResult } from './runner/run-scenario.ts'
import { attachTo, OwnStack } from './runner/target.ts'
import { SCENARIOS, type Scenario } from './scenarios.ts'

/** k6's own code for a threshold that was crossed; BSD's EX_TEMPFAIL for a harness that was unfit. */
const EXIT = { held: 0, failed: 1, usage: 2, unfit: 75, broken: 99, interrupted: 130 } as const

async function main(options: LoadTestOptions, signal: AbortSignal): Promise<number> {
  const progress = startProgress()
  const say = (words: string, detail?: string) => progress.step(words, detail)
  const k6 = await resolveTool('k6', { onProgress: say })
  process.stdout.write(`Seed ${options.seed}; the same again: --seed ${options.seed}\n`)
  const stack = options.attach === null ? await OwnStack.start(say, signal) : null
  const results: ScenarioResult[] = []
  let failure: Error | null = null
  try {
    for (const name of options.scenarios) {
      if (signal.aborted) break
      const scenario = SCENARIOS[name] as Scenario
      const load = options.quick ? scenario.quick : scenario.full
      const target =
        stack === null
          ? await attachTo(options.attach as NonNullable<LoadTestOptions['attach']>)
          : await stack.deploy(name, scenario.instances, say)
      try {
        const result = await runScenario({
          name,
          scenario,
          load: { rate: options.rate ?? load.rate, durationMs: options.durationMs ?? load.durationMs },
          seed: options.seed,
          target,
          env: options.env,
          k6: k6.path,
          folder: join(options.out, name),
          say,
          signal,
        })
        results.push(result)
        progress.end()
        tellResult(result, process.stdout)
      } finally {
        // Our own goes with the stack; somebody else's app must not stay changed.
        if (stack === null || (!options.keep && !signal.aborted)) await target.leave()
      }
    }
  } catch (error) {
    progress.fail()
    failure = error as Error
  }
  if (results.length > 0) process.stdout.write(`Report: ${await writeReport(results, options.out)}\n`)
  const code = exitCode(results, failure, signal)
  if (options.keep && stack !== null && !signal.aborted) await untilInterrupted(stack, signal)
  await stack?.stop()
  progress.end()
  if (code === EXIT.failed) process.stderr.write(`${pc.red('The run failed:')} ${failure?.message}\n`)
  return code
}

function exitCode(results: ScenarioResult[], failure: Error | null, signal: AbortSignal): number {
  if (signal.aborted) return EXIT.interrupted
  if (failure !== null) return EXIT.failed
  if (results.some(({ verdict }) => verdict.outcome === 'broken')) return EXIT.broken
  return results.every(({ verdict }) => verdict.outcome === 'held') ? EXIT.held : EXIT.unfit
}

async function untilInterrupted(stack: OwnStack, signal: AbortSignal): Promise<void> {
  const lines = [
    'It goes on running until Ctrl-C. Look at it with',
    `  coppice --home ${stack.home} apps list`,
    `  coppice --home ${stack.home} loadtest NAME SCENARIO`,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
}

async function run(): Promise<number> {
  const now = new Date().toISOString().slice(0, 19).replaceAll(':', '-')
  try {
    const options = resolveOptions(process.argv.slice(2), {
      known: Object.keys(SCENARIOS),
      env: process.env,
      resultsFolder: join(ROOT, 'loadtest', 'results', now),
      drawSeed: () => 1 + Math.floor(Math.random() * 999_999),
    })
    if (options === null) {
      process.stdout.write(helpText(SCENARIOS))
      return EXIT.held
    }
    const interrupt = new AbortController()
    // Each time, not once: the second Ctrl-C of somebody in a hurry would leave k6 and the whole stack behind.
    const stop = () => {
      process.stderr.write('\nStopping k6 and what was started with it, then the report is written …\n')
      interrupt.abort(new Error('interrupted'))
    }
    process.on('SIGINT', stop).on('SIGTERM', stop)
    return await main(options, interrupt.signal)
  } catch (error) {
    if (!(error instanceof CoppiceError)) throw error
    process.stderr.write(`${error.message}\n`)
    return error.code === 'InvalidInput' ? EXIT.usage : EXIT.failed
  }
}

process.exitCode = await run()
