/**
 * `npm run bench -- sagas`: what changes of a running app cost beyond the app itself, and what the orchestration
 * carries when nothing else does any work.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ProcessName } from '../stack/state-file.ts'
import { type BenchResult, type Figure, figure, median, spread } from './figures.ts'
import { cpuMs, residentMb } from './support/process-usage.ts'
import { type BenchOperation, slowestOf, Workbench } from './support/workbench.ts'

const RUNS = 5
const SOURCE = 'hello'
const COMMAND = [process.execPath, 'server.js']
const IDLE_WORKER = join(import.meta.dirname, 'support', 'idle-worker.ts')
/** A block that tests of stacks do not draw from. */
const MANY_APP_PORTS = { appPorts: '18000-18199' }

export async function bench(): Promise<BenchResult> {
  return { figures: { ...(await changes()), ...(await crowd()), ...(await growth()) } }
}

/** Resize and convert of `hello`, each beside the bare app. */
async function changes(): Promise<Record<string, Figure>> {
  const bench = await Workbench.start()
  const up: number[] = []
  const down: number[] = []
  const conversions: number[] = []
  const own = { start: [] as number[], stop: [] as number[] }
  try {
    const folder = await bench.copyExample('hello')
    await bench.createApp('hello')
    await bench.ended((await bench.beginDeploy('hello')).operation)
    for (let run = 0; run < RUNS; run++) {
      const one = await slowestOf(1, folder, COMMAND)
      conversions.push((await timed(() => bench.runByHand('convert', { app: 'hello', to: 'scaled' }))) - one.startMs)
      const four = await slowestOf(4, folder, COMMAND)
      own.start.push(four.startMs)
      own.stop.push(four.stopMs)
      up.push((await timed(() => bench.runByHand('resize', { app: 'hello', instances: 5 }))) - four.startMs)
      down.push((await timed(() => bench.runByHand('resize', { app: 'hello', instances: 1 }))) - four.stopMs)
      await bench.runByHand('convert', { app: 'hello', to: 'standard' })
    }
  } finally {
    await bench.stop()
  }
  return {
    'F2.1': figure(median(up), 'ms', '<= 500', 'resize 1 → 5 of hello, beyond the slowest start of four', {
      ...spread(up),
      ownStart: spread(own.start),
    }),
    'F2.2': figure(median(down), 'ms', '<= 500', 'resize 5 → 1 of hello, idle, beyond the slowest stop of four', {
      ...spread(down),
      ownStop: spread(own.stop),
    }),
    'F2.3': figure(
      median(conversions),
      'ms',
      '<= 1000',
      'convert hello to scaled, beyond its own start',
      spread(conversions),
    ),
  }
}

/** From the moment somebody asks until the operation has ended. */
async function timed(run: () => Promise<BenchOperation>): Promise<number> {
  const began = Date.now()
  return (await run()).endedAt - began
}

const CROWD = 100
/** A hundred clients that ask must not be what is measured; the times are the inventory's own. */
const CROWD_POLL_MS = 1_000

/** Every app deploys at once; instances, sources and builds are nothing, so this is the orchestration alone. */
async function crowd(): Promise<Record<string, Figure>> {
  const bench = await Workbench.start({ ports: MANY_APP_PORTS, programs: { worker: IDLE_WORKER } })
  try {
    const apps = await createApps(bench, CROWD)
    const rounds: Array<{ rate: number; p95: number; cpu: Record<string, number>; words: Record<string, number> }> = []
    for (let run = 0; run < RUNS; run++) {
      const before = cpuOf(bench)
      const operations = await deployAll(bench, apps)
      const after = cpuOf(bench)
      const began = Math.min(...operations.map(({ requestedAt }) => requestedAt))
      const tookMs = Math.max(...operations.map(({ endedAt }) => endedAt)) - began
      const lengths = operations.map(({ requestedAt, endedAt }) => endedAt - requestedAt).sort((a, b) => a - b)
      rounds.push({
        rate: CROWD / (tookMs / 1000),
        p95: lengths[Math.ceil(CROWD * 0.95) - 1] as number,
        cpu: Object.fromEntries(
          Object.entries(after).map(([name, ms]) => [name, (ms - (before[name] as number)) / CROWD]),
        ),
        words: whereTimeGoes(operations),
      })
    }
    const rates = rounds.map(({ rate }) => rate)
    const slow = rounds.map(({ p95 }) => p95)
    const last = rounds.at(-1)
    return {
      'F2.4': {
        value: median(rates),
        unit: 'operations/s',
        what: `${CROWD} apps deploy at once, with a provider that starts nothing`,
        detail: { ...spread(rates), cpuMsPerOperation: last?.cpu, msPerOperation: last?.words },
      },
      'F2.5': { value: median(slow), unit: 'ms', what: 'p95 of those operations', detail: spread(slow) },
    }
  } finally {
    await bench.stop()
  }
}

/** Medians over the operations, ms: until the first step began, in steps, between them. */
function whereTimeGoes(operations: readonly BenchOperation[]): Record<string, number> {
  const parts = operations.map(({ requestedAt, endedAt, steps }) => {
    const first = Math.min(...steps.map(({ from }) => from))
    const inSteps = steps.reduce((sum, { from, to }) => sum + (to - from), 0)
    return { beforeTheFirstStep: first - requestedAt, inSteps, betweenSteps: endedAt - first - inSteps }
  })
  return {
    beforeTheFirstStep: median(parts.map((part) => part.beforeTheFirstStep)),
    inSteps: median(parts.map((part) => part.inSteps)),
    betweenSteps: median(parts.map((part) => part.betweenSteps)),
  }
}

/** After how many operations memory is looked at; the last is held against the first. */
const LOOKS = [100, 250, 500, 1_000]
const APPS = 50
const WATCHED = ['worker', 'control'] as const
/** A heap is looked at once it had time to be collected. */
const REST_MS = 5_000

async function growth(): Promise<Record<string, Figure>> {
  const bench = await Workbench.start({ ports: MANY_APP_PORTS, programs: { worker: IDLE_WORKER } })
  try {
    const apps = await createApps(bench, APPS)
    const megabytes: Record<string, number[]> = Object.fromEntries(WATCHED.map((name) => [name, []]))
    let done = 0
    for (const look of LOOKS) {
      for (; done < look; done += APPS) await deployAll(bench, apps)
      await sleep(REST_MS)
      for (const name of WATCHED) megabytes[name]?.push(residentMb(pidOf(bench, name)))
    }
    const ratios = Object.values(megabytes).map((each) => (each.at(-1) as number) / (each[0] as number))
    return {
      'F2.6': figure(
        Math.max(...ratios),
        'ratio',
        '<= 1.1',
        `memory after ${LOOKS.at(-1)} operations to that after ${LOOKS[0]}, the worse of worker and control plane`,
        { operations: LOOKS, megabytes },
      ),
    }
  } finally {
    await bench.stop()
  }
}

async function createApps(bench: Workbench, count: number): Promise<string[]> {
  await bench.copyExample(SOURCE)
  const apps = Array.from({ length: count }, (_, i) => `app-${i}`)
  for (const app of apps) await bench.createApp(app)
  return apps
}

async function deployAll(bench: Workbench, apps: readonly string[]): Promise<BenchOperation[]> {
  const begun = await Promise.all(apps.map((app) => bench.beginDeploy(app, SOURCE)))
  return Promise.all(begun.map(({ operation }) => bench.ended(operation, CROWD_POLL_MS)))
}

function cpuOf(bench: Workbench): Record<string, number> {
  const pids = Object.entries(bench.stack.pids) as Array<[string, number]>
  return Object.fromEntries(pids.map(([name, pid]) => [name, cpuMs(pid)]))
}

function pidOf(bench: Workbench, name: ProcessName): number {
  const pid = bench.stack.pids[name]
  if (pid === undefined) throw new Error(`no ${name} runs`)
  return pid
}
