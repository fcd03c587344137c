/** `npm run loadtest -- <scenario|all>`: see runner/options.ts. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pc from 'picocolors'
import { CoppiceError } from '../domain/errors.ts'
import { onInterruption, orAborted } from '../scripts/interruption.ts'
import { startProgress } from '../scripts/progress.ts'
import { removal } from '../scripts/stack/own-home.ts'
import { startStack } from '../scripts/stack/stack.ts'
import { StartFailed } from '../scripts/stack/supervised.ts'
import { ROOT } from '../scripts/stack-options.ts'
import { resolveTool } from '../scripts/toolchain/resolve.ts'
import { writeReport } from './report/report.ts'
import { tellResult } from './report/text.ts'
import { helpText, type LoadTestOptions, resolveOptions } from './runner/options.ts'
import { type Attempted, conclude, EXIT, isInterruption, runAll } from './runner/run-all.ts'
import { runScenario } from './runner/run-scenario.ts'
import { attachTo, OwnStack } from './runner/target.ts'
import { SCENARIOS, type Scenario } from './scenarios.ts'

/** Of the stack of our own, as soon as there may be one. */
let home: string | null = null

async function main(options: LoadTestOptions, signal: AbortSignal): Promise<number> {
  const progress = startProgress()
  const say = (words: string, detail?: string) => progress.step(words, detail)
  let stack: OwnStack | null = null
  let attempted: Attempted = { results: [], failures: [] }
  try {
    const k6 = await orAborted(resolveTool('k6', { onProgress: say }), signal)
    process.stdout.write(`Seed ${options.seed}; the same again: --seed ${options.seed}\n`)
    if (options.attach === null) {
      stack = await OwnStack.start(say, signal, (request) => {
        home = request.home
        return startStack(request)
      })
    }
    attempted = await runAll(options.scenarios, {
      signal,
      targetOf: (name) => {
        if (options.attach !== null) return attachTo(options.attach, say, signal)
        return (stack as OwnStack).deploy(name, (SCENARIOS[name] as Scenario).instances, say, signal)
      },
      run: (name, target) => {
        const scenario = SCENARIOS[name] as Scenario
        const load = options.quick ? scenario.quick : scenario.full
        return runScenario({
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
      },
      onResult: (result) => {
        progress.end()
        tellResult(result, process.stdout)
      },
      // Our own goes with the stack; somebody else's app must not stay changed.
      leaves: () => stack === null || (!options.keep && !signal.aborted),
    })
  } catch (error) {
    if (!isInterruption(error as Error, signal)) attempted.failures.push(error as Error)
  }
  const { results, failures } = attempted
  if (failures.length > 0) progress.fail()
  else progress.end()
  const code = await conclude(attempted, {
    signal,
    report: async () => {
      if (results.length > 0) process.stdout.write(`Report: ${await writeReport(results, options.out)}\n`)
    },
    goOn: async () => {
      if (options.keep && stack !== null && !signal.aborted) await untilInterrupted(stack, signal)
    },
    stop: async () => stack?.stop(),
  })
  if (failures.length > 0) progress.fail()
  else progress.end()
  // Of one that was interrupted too: whoever did that has to know what became of the app.
  for (const failure of failures) process.stderr.write(`${pc.red('The run failed:')} ${inWords(failure)}\n`)
  return code
}

const inWords = (failure: Error): string =>
  failure instanceof StartFailed
    ? [`${failure.message}. The last lines of its log:`, ...failure.logLines].join('\n  ')
    : failure.message

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
    onInterruption(
      () => {
        process.stderr.write('\nStopping k6 and what was started with it, then the report is written …\n')
        interrupt.abort(new Error('interrupted'))
      },
      () => leftBehind(options),
    )
    return await main(options, interrupt.signal)
  } catch (error) {
    if (!(error instanceof CoppiceError)) throw error
    process.stderr.write(`${error.message}\n`)
    return error.code === 'InvalidInput' ? EXIT.usage : EXIT.failed
  }
}

function leftBehind({ attach }: LoadTestOptions): string {
  if (home !== null) return `what is left ends with: ${removal(home)}`
  return attach === null ? 'nothing was started yet.' : `${attach.app} may have another number of instances now.`
}

process.exitCode = await run()
// A line that is still on its way to a pipe must arrive.
await sleep(0)
// A tool that is being built for somebody who has pressed Ctrl-C is waited for by nobody.
process.exit()
