import type { RouteTable } from '../domain/route-table.ts'
import { ALL_WELL, type Health } from './health.ts'
import type { CheckOptions } from './options.ts'
import { Question, type Reply } from './question.ts'
import { type Condition, Watched } from './watched.ts'

export type ChecksParts = {
  options: CheckOptions
  /** Called with the whole whenever it changes. */
  onChange(health: Health): void
  /** Called with those that have become silent, whether they are ejected or not. */
  onSilent(instances: string[]): void
  /** Whether the table's word on who is dead is fresh: the control plane is heard. */
  tableIsFresh(): boolean
  ask?: (address: string, path: string | null, onReply: (reply: Reply) => void) => Pick<Question, 'cancel'>
  /** ms of a clock that never goes back. */
  now?: () => number
}

const TICK_MS = 100
/** A tick that comes later than this says something about this machine, not about the instances: only so much counts. */
const LONGEST_TICK_MS = 300
/** An instance that was given up counts for so long when others are to be given up too. */
const REMEMBER_MS = 60_000

type Entry = {
  app: string
  instance: string
  address: string
  /** As the newest table has it. `leaving`: that no longer names it, and is not in force everywhere yet. */
  stage: 'serving' | 'draining' | 'leaving'
  watched: Watched
  question: Pick<Question, 'cancel'> | null
  /** A second one, beside one that waits: whether its port refuses meanwhile. */
  aside: Pick<Question, 'cancel'> | null
}

/**
 * Looks after the health of all serving instances, once for all processes of the router. Whoever answers requests needs
 * no question; one is asked for what lets a request wait, fails one, or has been idle for long (`watched.ts`).
 *
 * The dead are always out. Of each app's serving instances nobody else is ejected when with the dead, and with those
 * that were given up in the last minute, it would be more than half: then the fault is likely elsewhere (a request that
 * blocks whoever gets it, say), and to send everything to the few that are left would take them down too.
 */
export class Checks {
  private readonly parts: ChecksParts
  private readonly now: () => number
  private entries = new Map<string, Entry>()
  /** On the word of the table alone: a port that no longer listens is how a server goes that finishes what it has. */
  private drainingDead: string[] = []
  /** App and instance → when it was given up; also of those that have gone since. */
  private readonly givenUpAt = new Map<string, { app: string; instance: string; at: number }>()
  private readonly timer: NodeJS.Timeout
  private last: number
  /** The clock of everything here: it stands still while this process does not run. */
  private clock = 0
  private current: Health = ALL_WELL
  private silentIds: string[] = []
  /** The silent among those that finish what they have: that never runs a second time, and else nobody cares. */
  private stuckIds: string[] = []

  constructor(parts: ChecksParts) {
    this.parts = parts
    this.now = parts.now ?? (() => performance.now())
    this.last = this.now()
    this.timer = setInterval(() => this.tick(), TICK_MS).unref()
  }

  get health(): Health {
    return this.current
  }

  /** Silent past their app's limit, or refusing for as long though they run, whether they are ejected or not. */
  get silent(): string[] {
    return this.silentIds
  }

  /**
   * Watches the endpoints of this table. Those that it takes away keep their verdict until it is `inForce`: until then the
   * processes go by the table before, and would send requests to whom they were told to leave.
   */
  watch(table: RouteTable): void {
    const next = new Map<string, Entry>()
    const draining = table.apps.flatMap((app) => app.endpoints.filter(({ state }) => state === 'draining'))
    this.drainingDead = draining.filter(({ up }) => !up).map(({ instance }) => instance)
    for (const app of table.apps) {
      for (const endpoint of app.endpoints) {
        const id = `${endpoint.instance}@${endpoint.address}`
        const stage = endpoint.state
        const row = { healthPath: app.healthPath, silenceMs: app.silenceMs, up: endpoint.up }
        const known = this.entries.get(id)
        if (known === undefined) {
          const { instance, address } = endpoint
          const watched = new Watched(this.clock, row, this.parts.options)
          next.set(id, { app: app.app, instance, address, stage, watched, question: null, aside: null })
          continue
        }
        known.stage = stage
        known.watched.healthPath = row.healthPath
        known.watched.silenceMs = row.silenceMs
        if (known.watched.told(this.clock, row.up)) this.cancel(known)
        next.set(id, known)
      }
    }
    const named = new Set([...next.values()].map(({ instance }) => instance))
    for (const [id, entry] of this.entries) {
      if (next.has(id)) continue
      this.cancel(entry)
      // One that was started anew elsewhere has the same name.
      if (!named.has(entry.instance)) next.set(id, { ...entry, stage: 'leaving' })
    }
    this.entries = next
    this.judge()
  }

  /** The table that was watched last is applied in all processes. */
  inForce(): void {
    for (const [id, { stage }] of this.entries) if (stage === 'leaving') this.entries.delete(id)
    this.judge()
  }

  // ---- what the processes that carry traffic saw ----

  /** These have sent something. */
  heard(instances: readonly string[]): void {
    const ids = new Set(instances)
    for (const entry of this.entries.values()) if (ids.has(entry.instance)) entry.watched.heard(this.clock)
    // Its sessions are to find it at once, in all processes.
    if (this.current.busy.some((instance) => ids.has(instance))) this.judge()
  }

  /** These let requests wait, for so many ms, without a byte for anybody. */
  waiting(waits: Readonly<Record<string, number>>): void {
    for (const entry of this.entries.values()) {
      const ms = waits[entry.instance]
      if (ms !== undefined) entry.watched.waits(this.clock, ms)
    }
  }

  /** These answered requests with 5xx. */
  answeredBadly(instances: readonly string[]): void {
    const ids = new Set(instances)
    for (const entry of this.entries.values()) if (ids.has(entry.instance)) entry.watched.answeredBadly()
  }

  /** A request could not reach this instance, or lost its connection: look at once. */
  suspect(instance: string): void {
    for (const entry of this.entries.values()) {
      if (entry.instance !== instance || entry.stage !== 'serving') continue
      if (entry.question !== null) this.askAside(entry)
      else {
        entry.watched.suspected()
        this.askWhereDue(entry)
      }
    }
  }

  stop(): void {
    clearInterval(this.timer)
    for (const entry of this.entries.values()) this.cancel(entry)
    this.entries.clear()
  }

  // ---- time ----

  /** For tests with a clock of their own. */
  tick(): void {
    const now = this.now()
    this.clock += Math.min(now - this.last, LONGEST_TICK_MS)
    this.last = now
    for (const entry of this.entries.values()) this.askWhereDue(entry)
    this.judge()
  }

  private askWhereDue(entry: Entry): void {
    const { watched, address, stage } = entry
    // Of those that only finish what they have it matters alone whether they are silent while somebody waits.
    if (stage === 'leaving' || (stage === 'draining' && !watched.isWaitedFor)) return
    if (!watched.isToBeAsked(this.clock, this.parts.tableIsFresh())) return
    entry.question?.cancel()
    watched.asked(this.clock)
    const question = this.ask(address, watched.healthPath, (reply) => {
      if (entry.question !== question) return
      this.cancel(entry)
      // So goes a server that finishes what it has, and that is what is looked after.
      watched.replied(this.clock, entry.stage !== 'serving' && reply === 'refused' ? 'none' : reply)
      this.judge()
    })
    entry.question = question
  }

  /** A process that is gone leaves a question unanswered where others hold its connections still. */
  private askAside(entry: Entry): void {
    if (entry.aside !== null) return
    const aside = this.ask(entry.address, entry.watched.healthPath, (reply) => {
      if (entry.aside !== aside) return
      entry.aside = null
      if (reply !== 'refused') return
      this.cancel(entry)
      entry.watched.replied(this.clock, reply)
      this.judge()
    })
    entry.aside = aside
  }

  private ask(address: string, path: string | null, onReply: (reply: Reply) => void): Pick<Question, 'cancel'> {
    return this.parts.ask?.(address, path, onReply) ?? new Question(address, path, onReply)
  }

  private cancel(entry: Entry): void {
    entry.question?.cancel()
    entry.aside?.cancel()
    entry.question = null
    entry.aside = null
  }

  // ---- from conditions to ejections ----

  private judge(): void {
    const next: Health = { dead: [...this.drainingDead], givenUp: [], busy: [] }
    const silent: string[] = []
    const busy: Entry[] = []
    const all = [...this.entries.values()]
    const serving = all.filter(({ stage }) => stage === 'serving')
    for (const entries of Map.groupBy(serving, (entry) => entry.app).values()) {
      const are = Object.groupBy(entries, ({ watched }) => watched.condition(this.clock))
      const ids = (...conditions: Condition[]) =>
        conditions.flatMap((condition) => are[condition] ?? []).map(({ instance }) => instance)
      next.dead.push(...ids('dead'))
      busy.push(...(are.busy ?? []), ...(are.silent ?? []))
      const unreachable = entries.filter(({ watched }) => watched.isUnreachable(this.clock))
      silent.push(...ids('silent'), ...unreachable.map(({ instance }) => instance))
      const suspects = ids('silent', 'unwell')
      if (suspects.length === 0) continue
      const { app } = entries[0] as Entry
      const out = new Set([...ids('dead'), ...suspects, ...this.lately(app)])
      if (out.size * 2 > entries.length) continue
      next.givenUp.push(...suspects)
      for (const instance of suspects) this.remember(app, instance)
    }
    const stuck: string[] = []
    for (const entry of all) {
      if (entry.stage === 'serving') continue
      const condition = entry.watched.condition(this.clock)
      const wasOut = this.current.givenUp.includes(entry.instance)
      if (wasOut && (condition === 'silent' || condition === 'unwell')) next.givenUp.push(entry.instance)
      if (condition === 'busy' || condition === 'silent') busy.push(entry)
      if (condition === 'silent') stuck.push(entry.instance)
    }
    const known = [...this.silentIds, ...this.stuckIds]
    const fresh = [...silent, ...stuck].filter((instance) => !known.includes(instance))
    this.silentIds = silent.sort()
    this.stuckIds = stuck
    next.dead.sort()
    next.givenUp.sort()
    busy.sort((a, b) => a.watched.lastHeardAt - b.watched.lastHeardAt || (a.instance < b.instance ? -1 : 1))
    next.busy = busy.map(({ instance }) => instance)
    if (JSON.stringify(next) !== JSON.stringify(this.current)) {
      this.current = next
      this.parts.onChange(next)
    }
    if (fresh.length > 0) this.parts.onSilent(fresh)
  }

  private lately(app: string): string[] {
    for (const [key, { at }] of this.givenUpAt) if (this.clock - at > REMEMBER_MS) this.givenUpAt.delete(key)
    return [...this.givenUpAt.values()].filter((one) => one.app === app).map(({ instance }) => instance)
  }

  /** The minute of one that stays given up begins anew with each look, and so ends a minute after its end. */
  private remember(app: string, instance: string): void {
    this.givenUpAt.set(`${app}/${instance}`, { app, instance, at: this.clock })
  }
}
