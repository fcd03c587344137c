import { setTimeout as sleep } from 'node:timers/promises'
import pc from 'picocolors'
import { CoppiceError, withHint } from '../domain/errors.ts'
import { outliveStandardStreams } from '../logging/line-output.ts'
import { onInterruption } from './interruption.ts'
import { startProgress } from './progress.ts'
import { followAttached } from './stack/attach.ts'
import { ensureExample } from './stack/example-app.ts'
import { AlreadyRunning, type Stack, startStack } from './stack/stack.ts'
import { summary } from './stack/summary.ts'
import { StartFailed } from './stack/supervised.ts'
import { helpText, resolveStackOptions, type StackOptions } from './stack-options.ts'

/**
 * `npm start`: the whole platform on this machine, with an example app, until Ctrl-C (issue: one command sets
 * everything up). The work is in `stack/`; here is what a person sees of it.
 */
// A terminal or a disk that takes no more words is no reason to stop the platform.
outliveStandardStreams()
const progress = startProgress()

async function main(): Promise<number> {
  const { options, flags } = resolveStackOptions(process.argv.slice(2), process.env)
  if (flags.help) {
    process.stdout.write(`${helpText()}\n`)
    return 0
  }
  if (flags.check) return (await import('./start-check.ts')).check(progress)
  return run(options)
}

async function run(options: StackOptions): Promise<number> {
  const interrupted = interruption()
  let stack: Stack | null = null
  while (stack === null) {
    try {
      stack = await startStack({
        home: options.home,
        ports: options,
        onProgress: progress.step,
        onEvent: (words) => progress.note(pc.dim(words)),
        signal: interrupted.signal,
      })
    } catch (error) {
      if (interrupted.signal.aborted) return stoppedEarly()
      if (!(error instanceof AlreadyRunning)) throw error
      // One that is on its way out leaves the place to us.
      if ((await followAttached(options.home, progress, interrupted.signal)) !== 'gone') return 0
    }
  }
  try {
    const example = await Promise.race([ensureExample(stack, (words) => progress.step(words)), interrupted.promise])
    progress.end()
    if (example !== 'interrupted') process.stdout.write(await summary(stack.options, example, false))
  } catch (error) {
    // The platform itself runs; the example can be mended and deployed again.
    explain(error)
    process.stdout.write(await summary(stack.options, null, false))
  }
  // Only a signal ends it.
  const alive = setInterval(() => {}, 60_000)
  await interrupted.promise
  clearInterval(alive)
  progress.end()
  await stack.stop()
  progress.end()
  process.stderr.write('Stopped.\n')
  return 0
}

/** 128 + SIGINT, as shells have it: what was asked for did not come to be. */
function stoppedEarly(): number {
  progress.end()
  process.stderr.write('Stopped before it was ready.\n')
  return 130
}

type Interruption = { promise: Promise<'interrupted'>; signal: AbortSignal }

function interruption(): Interruption {
  const controller = new AbortController()
  const { promise, resolve } = Promise.withResolvers<'interrupted'>()
  onInterruption(
    () => {
      controller.abort()
      resolve('interrupted')
    },
    () => 'the next start tidies up.',
  )
  return { promise, signal: controller.signal }
}

function explain(error: unknown): void {
  progress.fail()
  const say = (words: string) => process.stderr.write(`${words}\n`)
  if (error instanceof StartFailed) {
    say(pc.red(`\n${error.message}.`))
    for (const line of ['The last lines of its log:', ...error.logLines.map((text) => `  ${text}`)]) say(line)
    say(`All of it: ${error.logFile}`)
  } else if (error instanceof CoppiceError) {
    say(pc.red(`\n${error.code === 'InvalidInput' ? error.message : withHint(error.code, error.message)}`))
  } else {
    say(pc.red(`\n${(error as Error).stack ?? error}`))
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  explain(error)
  process.exitCode = 1
}
// A line that is still on its way to a pipe must arrive.
await sleep(0)
process.exit()
