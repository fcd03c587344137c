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
  watched: Watched
  question: Pick<Question, 'cancel'> | null
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
  /** They only finish what they have; of them nothing is asked. */
  private drainingDead: string[] = []
  /** App and instance → when it was given up; also of those that have gone since. */
  private readonly givenUpAt = new Map<string, { app: string; instance: string; at: number }>()
  private readonly timer: NodeJS.Timeout
  private last: number
  /** The clock of everything here: it stands still while this process does not run. */
  private clock = 0
  private current: Health = ALL_WELL
  private silentIds: string[] = []

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

  /** Watches the serving endpoints of this table, and no others. */
  watch(table: RouteTable): void {
    const next = new Map<string, Entry>()
    const draining = table.apps.flatMap((app) => app.endpoints.filter(({ state }) => state === 'draining'))
    this.drainingDead = draining.filter(({ up }) => !up).map(({ instance }) => instance)
    for (const app of table.apps) {
      for (const endpoint of app.endpoints) {
        if (endpoint.state !== 'serving') continue
        const id = `${endpoint.instance}@${endpoint.address}`
        const row = { healthPath: app.healthPath, silenceMs: app.silenceMs, up: endpoint.up }
        const known = this.entries.get(id)
        if (known === undefined) {
          const watched = new Watched(this.clock, row, this.parts.options)
          next.set(id, {
            app: app.app,
            instance: endpoint.instance,
            address: endpoint.address,
            watched,
            question: null,
          })
          continue
        }
        known.watched.healthPath = row.healthPath
        known.watched.silenceMs = row.silenceMs
        if (known.watched.told(this.clock, row.up)) this.cancel(known)
        next.set(id, known)
      }
    }
    for (const [id, entry] of this.entries) if (!next.has(id)) this.cancel(entry)
    this.entries = next
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
      if (entry.instance !== instance) continue
      entry.watched.suspected()
      this.askWhereDue(entry)
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
    const { watched, address } = entry
    if (!watched.isToBeAsked(this.clock, this.parts.tableIsFresh())) return
    entry.question?.cancel()
    watched.asked(this.clock)
    const ask = this.parts.ask ?? ((...args) => new Question(...args))
    const question = ask(address, watched.healthPath, (reply) => {
      if (entry.question !== question) return
      entry.question = null
      watched.replied(this.clock, reply)
      this.judge()
    })
    entry.question = question
  }

  private cancel(entry: Entry): void {
    entry.question?.cancel()
    entry.question = null
  }

  // ---- from conditions to ejections ----

  private judge(): void {
    const next: Health = { dead: [...this.drainingDead], givenUp: [], busy: [] }
    const silent: string[] = []
    const busy: Entry[] = []
    for (const entries of Map.groupBy(this.entries.values(), (entry) => entry.app).values()) {
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
    const fresh = silent.filter((instance) => !this.silentIds.includes(instance))
    this.silentIds = silent.sort()
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
