/**
 * `npm run bench -- deploy`: what a deployment costs, and what of it is ours. Five runs each; the app's own start is
 * measured beside each of them, so that a loaded machine counts on both sides.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { freeStackOptions, ROOT } from '../stack-options.ts'
import { type BenchResult, figure, median, spread } from './figures.ts'
import { type BenchOperation, type BenchStep, kindOf, ownTimes, untilOk, Workbench } from './support/workbench.ts'

const RUNS = 5

export async function bench(): Promise<BenchResult> {
  const start = await coldStarts()
  const bench = await Workbench.start()
  try {
    const hello = await deployments(bench)
    const builds = await pythonBuilds(bench)
    const excess = hello.map(({ totalMs, own }) => totalMs - 2 * own)
    const alone = hello.map(({ totalMs, operation }) => totalMs - startsOf(operation))
    const overheads = hello.flatMap(({ operation }) => gapsOf(operation.steps))
    return {
      figures: {
        'F1.1': figure(
          median(start.map(({ seconds }) => seconds)),
          's',
          '<= 6',
          'cold npm start, to the first answer of the app at its URL',
          { ...spread(start.map(({ seconds }) => seconds)), runs: start },
        ),
        'F1.2': figure(
          median(excess),
          'ms',
          '<= 500',
          'deploy of a changed hello on 2 instances, beyond twice its own start',
          {
            excess: spread(excess),
            total: spread(hello.map(({ totalMs }) => totalMs)),
            ownStart: spread(hello.map(({ own }) => own)),
          },
        ),
        'F1.3': {
          value: median(alone),
          unit: 'ms',
          what: 'of it all that is not the start of an instance',
          detail: { ...spread(alone), steps: stepsOf(hello.map(({ operation }) => operation)) },
        },
        'F1.4': figure(
          median(overheads.map(({ ms }) => ms)),
          'ms',
          '<= 20',
          'from the end of one step of a saga to the begin of the next',
          { ...spread(overheads.map(({ ms }) => ms)), between: byPlace(overheads) },
        ),
        'F1.5': figure(median(builds.changed), 'ms', '<= 100', 'build with the same Python layer and another app.py', {
          ...spread(builds.changed),
          firstBuildMs: builds.first,
        }),
        'F1.6': figure(builds.unchanged, 'builds', '= 0', `built in ${RUNS} deployments without a change`),
      },
    }
  } finally {
    await bench.stop()
  }
}

/** `npm start` as people run it, in an empty data directory, until the example answers at the router. */
async function coldStarts(): Promise<Array<{ seconds: number; said: string[] }>> {
  const runs: Array<{ seconds: number; said: string[] }> = []
  for (let run = 0; run < RUNS; run++) {
    const home = await mkdtemp(join(tmpdir(), 'coppice-bench-'))
    const { port, apiPort, temporalPort, uiPort, instancePorts, appPorts } = await freeStackOptions(home)
    const flags = [
      ...['--home', home, '--port', String(port), '--api-port', String(apiPort)],
      ...['--temporal-port', String(temporalPort), '--ui-port', String(uiPort)],
      ...['--instance-ports', String(instancePorts), '--app-ports', String(appPorts)],
    ]
    const began = performance.now()
    // A group of its own, which gets the signal as from a terminal's Ctrl-C.
    const child = spawn('npm', ['start', '--', ...flags], {
      cwd: ROOT,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const said: string[] = []
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', (line) => {
        if (line.startsWith('- ')) said.push(`${Math.round(performance.now() - began)} ms ${line.slice(2)}`)
      })
    const exit = once(child, 'exit')
    try {
      const ended = exit.then(() => Promise.reject(new Error(`npm start has ended: ${said.join('; ')}`)))
      const at = await Promise.race([untilOk(`http://127.0.0.1:${port}/`, { host: 'hello.localhost' }), ended])
      runs.push({ seconds: (at - began) / 1000, said })
    } finally {
      if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGINT')
      await exit
      await removeTree(home)
    }
  }
  return runs
}

type Deployed = { own: number; totalMs: number; operation: BenchOperation }

/** From the request until every slot answers with the new deployment. */
async function deployments(bench: Workbench): Promise<Deployed[]> {
  const folder = await bench.copyExample('hello')
  await bench.createApp('hello', 2)
  await bench.ended((await bench.beginDeploy('hello')).operation)
  const keys = await bench.keysBySlot('hello', 2)
  const all: Deployed[] = []
  for (let run = 0; run < RUNS; run++) {
    const { startMs } = await ownTimes(folder, [process.execPath, 'server.js'])
    await appendFile(join(folder, 'server.js'), `// change ${run}\n`)
    const began = performance.now()
    const { deployment_id, operation } = await bench.beginDeploy('hello')
    const at = await bench.untilAnswers('hello', keys, ({ deployment }) => deployment === deployment_id)
    all.push({ own: startMs, totalMs: at - began, operation: await bench.ended(operation) })
  }
  return all
}

/** What the instances needed until they were healthy, one after the other: the build instance, then the slowest other. */
function startsOf({ steps }: BenchOperation): number {
  const [first, ...others] = steps.filter(({ step }) => kindOf(step) === 'start')
  const healthy = (step?: BenchStep) => Number(/healthy after (\d+) ms/.exec(step?.detail ?? '')?.[1] ?? 0)
  return healthy(first) + Math.max(0, ...others.map(healthy))
}

type Gap = { place: string; ms: number }

/**
 * What passes between steps that follow each other: report, workflow task, scheduling, the next step's record. Of
 * instances that come or go side by side each is followed by itself.
 */
function gapsOf(steps: readonly BenchStep[]): Gap[] {
  const gaps: Gap[] = []
  for (const next of steps) {
    const before = steps.filter((step) => follows(step, next) && step.to <= next.from)
    if (before.length === 0) continue
    const last = before.reduce((latest, step) => (step.to > latest.to ? step : latest))
    gaps.push({ place: `${kindOf(last.step)} → ${kindOf(next.step)}`, ms: next.from - last.to })
  }
  return gaps
}

function follows(step: BenchStep, next: BenchStep): boolean {
  if (step === next) return false
  const [kind, nextKind] = [kindOf(step.step), kindOf(next.step)]
  if (nextKind === 'stop') return kind === 'drain' && sameInstance(step.step, next.step)
  return nextKind !== 'drain' || kind === 'publish'
}

const sameInstance = (one: string, other: string) => one.split('/')[1] === other.split('/')[1]

function byPlace(gaps: readonly Gap[]): Record<string, number> {
  const places = [...new Set(gaps.map(({ place }) => place))]
  return Object.fromEntries(
    places.map((place) => [place, median(gaps.filter((gap) => gap.place === place).map(({ ms }) => ms))]),
  )
}

/** Median length of each kind of step, ms. */
function stepsOf(operations: readonly BenchOperation[]): Record<string, number> {
  const all = operations.flatMap(({ steps }) => steps)
  const kinds = [...new Set(all.map(({ step }) => kindOf(step)))]
  return Object.fromEntries(
    kinds.map((kind) => [
      kind,
      median(all.filter(({ step }) => kindOf(step) === kind).map(({ from, to }) => to - from)),
    ]),
  )
}

async function pythonBuilds(bench: Workbench): Promise<{ first: number; changed: number[]; unchanged: number }> {
  const folder = await bench.copyExample('flask-notes')
  await bench.createApp('flask-notes', 1)
  const build = async () => {
    const { steps } = await bench.ended((await bench.beginDeploy('flask-notes')).operation)
    const step = steps.find(({ step }) => step === 'build')
    if (step === undefined) throw new Error('a deployment without a build step')
    return { ms: step.to - step.from, built: builtOf(step) }
  }
  const first = await build()
  const changed: number[] = []
  for (let run = 0; run < RUNS; run++) {
    await appendFile(join(folder, 'app.py'), `# change ${run}\n`)
    const { ms, built } = await build()
    if (built.join() !== 'source') throw new Error(`a changed app.py built ${built.join(', ')}, not its source alone`)
    changed.push(ms)
  }
  let unchanged = 0
  for (let run = 0; run < RUNS; run++) unchanged += (await build()).built.length
  return { first: first.ms, changed, unchanged }
}

/** `built layer, source` → what; nothing when all was there. Anything else is no answer. */
function builtOf({ detail }: BenchStep): string[] {
  if (detail === 'nothing had to be built') return []
  const built = /^built (.+)$/.exec(detail)?.[1]
  if (built === undefined) throw new Error(`the build step says "${detail}"`)
  return built.split(', ')
}
