import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import type { Evidence } from '../check/evidence.ts'
import { judge, type Verdict } from '../check/judge.ts'
import { countMoves, type Moves } from '../check/placement.ts'
import type { World } from '../check/world.ts'
import { type Attempt, parseHistory } from '../history-line.ts'
import { seeded } from '../k6/random.ts'
import type { Load, Scenario } from '../scenarios.ts'
import { Actions, type Mark } from './actions.ts'
import { type K6Run, startK6 } from './k6.ts'
import { Observer } from './observer.ts'
import type { Target } from './target.ts'

export type ScenarioResult = {
  scenario: string
  words: string
  rules: string[]
  app: string
  /** Whether the app was deployed for this run. */
  own: boolean
  seed: number
  load: Load
  startedAt: number
  endedAt: number
  /** Ended by Ctrl-C or by an error, in words; what there is until then is judged all the same. */
  cutShort: string | null
  verdict: Verdict
  moves: Moves
  marks: Mark[]
  skipped: string[]
  world: World
  history: Attempt[]
}

export type RunParts = {
  name: string
  scenario: Scenario
  load: Load
  seed: number
  target: Target
  /** Settings of the script that win over the target's. */
  env?: Record<string, string>
  /** Path of k6. */
  k6: string
  /** Where history and summary go. */
  folder: string
  say: (words: string, detail?: string) => void
  signal: AbortSignal
}

/** One scenario from the first request to the verdict. Throws what makes a verdict impossible. */
export async function runScenario(parts: RunParts): Promise<ScenarioResult> {
  const { name, scenario, load, seed, target, say, signal } = parts
  const env = { ...k6Env(target, load, seed), ...scenario.env, ...(target.own && scenario.ownEnv) }
  await mkdir(parts.folder, { recursive: true })
  const observer = new Observer(target.api, target.app)
  try {
    await observer.ready(signal)
  } catch (error) {
    await observer.stop()
    throw error
  }
  let words = `${name}: load`
  let k6: K6Run | null = null
  const progress = setInterval(() => {
    if (k6 !== null) say(words, `${k6.attempts()} requests, ${k6.failures()} without a good answer`)
  }, 1_000)
  const actions = new Actions({
    target,
    observer,
    processes: systemProcessTable(),
    signal,
    random: seeded(seed, 0x5ce9a710),
    requests: () => k6?.attempts() ?? 0,
    say: (next) => {
      words = `${name}: ${next}`
      say(words)
    },
  })
  const startedAt = Date.now()
  let cutShort: string | null = null
  let cutAt = Infinity
  signal.addEventListener('abort', () => (cutAt = Date.now()), { once: true })
  let ended: { summary: Evidence['summary']; history: string } = { summary: null, history: '' }
  try {
    say(words)
    const running = await startK6({
      k6: parts.k6,
      script: `${name}.ts`,
      folder: parts.folder,
      quietMs: scenario.quietMs ?? 1_500,
      env: { ...env, ...parts.env },
      // Empty where there is none: one that happens to be in our own environment is of another app.
      secrets: { NAMING_KEY: target.namingKey ?? '' },
    })
    k6 = running
    try {
      await Promise.race([scenario.timeline(actions, load), running.died, aborted(signal)])
      words = `${name}: load`
    } catch (error) {
      cutAt = Math.min(cutAt, Date.now())
      // Nothing more is done to the app, while k6 ends.
      void actions.close()
      cutShort = signal.aborted ? 'interrupted' : (error as Error).message
    }
    ended = await running.finish({ now: cutShort !== null, signal })
    if (signal.aborted) cutShort ??= 'interrupted'
  } finally {
    const closed = actions.close()
    // Our own app goes with its stack, and whoever pressed Ctrl-C need not wait for its operations.
    if (!(target.own && signal.aborted)) await closed
    clearInterval(progress)
    await observer.stop()
  }
  const leftBehind = await actions.leaks()
  // What we cut off ourselves was not lost.
  const history = parseHistory(ended.history).filter(({ status, endedAt }) => status !== 0 || endedAt < cutAt)
  const world = worldOf(observer, actions, env)
  const seen = { world, executions: await target.executions(), passages: await target.passages(), leftBehind }
  const namedBy = target.namingKey !== null && parts.env?.INSTANCE_AT === undefined ? 'router' : 'app'
  const nothingDone = actions.skipped.length > 0 && actions.marks.length === 0
  const { summary } = ended
  const verdict = judge({ ...seen, history, summary }, { lossRule: scenario.lossRule, namedBy, cutShort, nothingDone })
  const result: ScenarioResult = {
    scenario: name,
    words: scenario.words,
    rules: scenario.rules,
    app: target.app,
    own: target.own,
    seed,
    load,
    startedAt: history[0]?.startedAt ?? startedAt,
    endedAt: Date.now(),
    cutShort,
    verdict,
    moves: countMoves(history),
    marks: actions.marks,
    skipped: actions.skipped,
    world,
    history,
  }
  // With history and summary beside it, all that the verdict was made of.
  await writeFile(join(parts.folder, 'evidence.json'), JSON.stringify(seen))
  return result
}

const k6Env = (target: Target, load: Load, seed: number): Record<string, string> => ({
  ...target.k6Env,
  APP_URL: target.urls.join(','),
  ...(target.host !== null && { APP_HOST: target.host }),
  RATE: String(load.rate),
  DURATION: `${load.durationMs}ms`,
  SEED: String(seed),
})

function worldOf(observer: Observer, actions: Actions, env: Record<string, string>): World {
  const versions: string[] = []
  for (const { endpoints } of observer.tables) {
    for (const { deployment, state } of endpoints) {
      if (deployment !== null && state === 'serving' && !versions.includes(deployment)) versions.push(deployment)
    }
  }
  const slowest = Number(env.SLOW_MS?.split('-')[1] ?? 400)
  return {
    tables: observer.tables,
    faults: [...actions.faults, ...observer.ejections],
    operations: actions.operations,
    rebalances: actions.rebalances,
    versions,
    slowestMs: slowest,
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}
