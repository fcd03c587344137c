import { sleep } from 'k6'
import exec from 'k6/execution'
import http from 'k6/http'
import type { ConstantArrivalRateScenario, Options } from 'k6/options'
import type { PromiseMetric } from '../promises.ts'
import { never } from './metrics.ts'
import { type Random, seeded } from './random.ts'
import { type Kind, Session } from './session.ts'
import type { Settings } from './settings.ts'

/** How long the runner may prolong a run whose operations take longer than DURATION. */
const LONGEST_PROLONGATION_MS = 180_000
/** Requests of one visit: the first alone, as a page, the others together, as what the page needs. */
const VISIT = 4
const KINDS: Kind[] = ['browser', 'cookie', 'header']

export type Traffic = {
  options: Options
  /** One iteration of a user of this kind. */
  visit(kind: Kind): void
}

/**
 * Users that come by at a rate of their own, however slow the answers are (open model), each with a session of 2 to 12
 * visits, after which somebody new comes.
 * @param steady nothing happens to the app on purpose, so that each move of a session breaks a promise
 */
export function httpTraffic(settings: Settings, promises: PromiseMetric[], steady: boolean): Traffic {
  const total = KINDS.reduce((sum, kind) => sum + settings.clients[kind], 0)
  const scenarios: Record<string, ConstantArrivalRateScenario> = {}
  for (const kind of KINDS) {
    const share = settings.clients[kind] / total
    if (share > 0 && !(kind === 'header' && settings.keyHeader === '')) {
      scenarios[kind] = arrivals(settings, { rate: settings.rate * share, size: VISIT, exec: kind })
    }
  }
  const users = new Map<Kind, User>()
  return {
    options: { ...COMMON_OPTIONS, scenarios, thresholds: never(...promises) },
    visit: (kind) => {
      if (isOver(settings)) return
      const user = users.get(kind) ?? new User(kind, settings, steady)
      users.set(kind, user)
      user.visit()
    },
  }
}

export const COMMON_OPTIONS: Options = {
  // A session lives for many iterations; each has a jar of its own.
  noCookiesReset: true,
  // Latency and counts by custom metrics; what was asked is in the history.
  summaryTrendStats: ['count', 'min', 'med', 'p(95)', 'p(99)', 'max'],
  insecureSkipTLSVerify: false,
  userAgent: 'coppice-loadtest',
}

/**
 * @param size requests of one iteration
 * @param longestS how long one may take, in seconds; of visits: a busy instance holds its users until it goes on, a stopped one
 * those whose request may not be repeated
 */
export function arrivals(
  settings: Settings,
  { rate, size, exec, longestS = 9 }: { rate: number; size: number; exec: string; longestS?: number },
): ConstantArrivalRateScenario {
  const perSecond = rate / size
  // k6 takes whole numbers: iterations in 100 s.
  const longest = settings.durationMs + (settings.controlUrl === null ? 0 : LONGEST_PROLONGATION_MS)
  return {
    executor: 'constant-arrival-rate',
    rate: Math.max(1, Math.round(perSecond * 100)),
    timeUnit: '100s',
    duration: `${longest}ms`,
    gracefulStop: '60s',
    preAllocatedVUs: settings.vus ?? Math.ceil(perSecond * longestS) + 8,
    exec,
  }
}

/** Draws a new seed for each virtual user, or each session of one, from that of the run. */
export const randomOf = (settings: Settings, generation = 0): Random =>
  seeded(settings.seed, exec.vu.idInTest, generation)

class User {
  readonly #kind: Kind
  readonly #settings: Settings
  readonly #steady: boolean
  readonly #random: Random
  #session: Session | null = null
  #generation = 0
  #visitsLeft = 0

  constructor(kind: Kind, settings: Settings, steady: boolean) {
    this.#kind = kind
    this.#settings = settings
    this.#steady = steady
    this.#random = randomOf(settings)
  }

  visit(): void {
    // Arrivals at equal distances would run in step with checks and faults.
    sleep(this.#random.number() * 0.25)
    const session = this.#comesOnce() ? this.#newSession() : this.#ownSession()
    session.ask()
    session.askTogether(VISIT - 1)
  }

  #comesOnce(): boolean {
    return this.#kind === 'browser' && this.#random.number() < this.#settings.newcomers
  }

  #ownSession(): Session {
    if (this.#visitsLeft === 0 || this.#session === null) {
      this.#visitsLeft = this.#random.whole(2, 12)
      this.#session = this.#newSession()
    }
    this.#visitsLeft -= 1
    return this.#session
  }

  #newSession(): Session {
    this.#generation += 1
    return new Session(this.#kind, this.#generation, {
      settings: this.#settings,
      random: this.#random,
      vu: exec.vu.idInTest,
      steady: this.#steady,
    })
  }
}

/** After DURATION the runner decides; in its absence k6 does. */
export function isOver(settings: Settings): boolean {
  if (settings.controlUrl === null || exec.instance.currentTestRunDuration < settings.durationMs) return false
  const answer = http.get(settings.controlUrl, { tags: { name: 'control' }, timeout: '5s' })
  return answer.body !== 'go on'
}
