import cluster, { type Worker } from 'node:cluster'
import type { Logger } from 'pino'
import { cutOvers } from '../domain/cut-over.ts'
import { type RouteTable, reaches, type TableId } from '../domain/route-table.ts'
import { ALL_WELL, type Health } from './health.ts'
import type { Beat, FromWorker, ToWorker } from './messages.ts'
import { addCounts, type MetricsSnapshot } from './metrics.ts'
import type { Listen, RouterOptions } from './options.ts'
import { processState } from './process-state.ts'
import type { MovedSessions } from './rebalance-count.ts'
import { countSessions, NO_SESSIONS, type SessionCount, type SessionSample } from './sessions.ts'

/** A process that ends is not started again faster than this; each start in a row that fails doubles it. */
const RESTART_PAUSE_MS = 200
const LONGEST_RESTART_PAUSE_MS = 10_000
/** To load the program and its first table; on a machine that does much else this takes seconds. */
const START_ALLOWANCE_MS = 20_000
const LONGEST_SILENCE_MS = 30_000
/** To put a table into force takes milliseconds; ports and a slow disk may take a few seconds more. */
const LONGEST_TABLE_S = 30

type Member = {
  worker: Worker
  /** It has loaded, and was told the table. */
  ready: boolean
  /** Table that it has in force; -1 before its first. */
  applied: { inventory: string; version: number } | null
  /** Tables that it was told and has not answered to, and for how long: in seconds in which it ran, so none of a standstill. */
  unanswered: number
  unansweredS: number
  /** Ports of apps that it had open with its last table. */
  open: readonly number[]
  lastBeat: number
  beat: Beat
  metrics: MetricsSnapshot
  sessions: SessionSample
  /** CPU time it had used when it was first found silent. */
  cpuAtBeat: number | null
  stopping: boolean
  /** What became of it, for people; null while it lives. */
  end: string | null
}

/**
 * A table that takes apps to other instances. The processes apply it at different moments, a busy machine puts half a
 * second between them: until none of them sends anybody to the instances before, none may send anybody to the new ones.
 */
type CutOver = {
  hold: number
  table: RouteTable
  ports: number[]
  apps: string[]
  waitingFor: Set<Member>
  /** All let their requests wait; what is missing is the word that other routers do, too. */
  held: boolean
  awaitsWord: boolean
  /** ms of performance.now(): nobody is waited for longer. */
  until: number
}

export type FleetEvents = {
  onListening(port: number): void
  onPortFailed(port: number, reason: string): void
  onApplied(): void
  /** See `holding`. */
  onHolding(): void
  onBeat(beat: Beat): void
  onSuspect(instance: string): void
  onMoved(moved: MovedSessions): void
  onRefused(version: number, reason: string): void
  onProblem(key: string, message: string | null): void
}

/**
 * The processes that carry traffic. Keeps their number; replaces those that die or fall silent; gives each the table
 * before it listens; adds up what they report.
 */
export class Fleet {
  private readonly members = new Map<number, Member>()
  private readonly retiredCounters: Record<string, number> = {}
  private readonly options: RouterOptions
  private readonly events: FleetEvents
  private readonly log: Logger
  /** What the processes were told last. */
  private table: RouteTable | null = null
  private cutOver: CutOver | null = null
  private holds = 0
  /** The last table that may be put into force, as far as other routers are concerned. */
  private word: TableId | null = null
  private ports: number[] = []
  private health: Health = ALL_WELL
  private port = 0
  private listen: Listen
  private stopped = false
  private watchdog: NodeJS.Timeout | null = null
  /** In a row. */
  private failedStarts = 0
  private nextFill: NodeJS.Timeout | null = null
  private replacing: Promise<string | null> | null = null
  private asks = 0
  private readonly answers = new Map<number, () => void>()

  constructor(options: RouterOptions, events: FleetEvents, log: Logger) {
    this.options = options
    this.listen = options.listen
    this.events = events
    this.log = log
  }

  get processes(): number {
    return [...this.members.values()].filter((member) => member.applied !== null && !member.stopping).length
  }

  start(table: RouteTable, ports: number[], health: Health): void {
    this.table = table
    this.ports = ports
    this.health = health
    this.fill()
    let lastLook = performance.now()
    this.watchdog = setInterval(() => {
      const now = performance.now()
      // If this process itself did not run, the silence may be its own.
      const late = now - lastLook > 500
      lastLook = now
      if (!late) this.replaceSilent(now)
    }, 250)
  }

  /** As many as there should be; those that are on their way out do not count, one that is to take a place does. */
  private fill(): void {
    if (this.stopped) return
    const staying = [...this.members.values()].filter((member) => !member.stopping).length
    for (let i = staying; i < this.options.processes; i++) this.fork()
  }

  /** Once for all that are missing: those that cannot be started at all fail within a moment, and all at once. */
  private fillLater(pauseMs: number): void {
    this.nextFill ??= setTimeout(() => {
      this.nextFill = null
      this.fill()
    }, pauseMs)
  }

  /** @returns why there is none, where the system gives none at once; that is told and tried again as when one ends */
  private fork(): Member | string {
    const listen = this.listen
    // Port 0 is drawn once. Those who ask for 0 share what was drawn as long as one of them lives; after that the
    // port has to be asked for by its number.
    if ('host' in listen && this.members.size === 0 && this.port !== 0) this.listen = { ...listen, port: this.port }
    let worker: Worker
    try {
      worker = cluster.fork({ COPPICE_ROUTER_WORKER: JSON.stringify({ ...this.options, listen: this.listen }) })
    } catch (error) {
      const why = notStarted(error as Error)
      this.lost(undefined, why, true)
      return why
    }
    const member: Member = {
      worker,
      ready: false,
      applied: null,
      unanswered: 0,
      unansweredS: 0,
      open: [],
      lastBeat: performance.now() + START_ALLOWANCE_MS,
      beat: { inFlight: {}, longLived: {}, heard: [], failing: [], silentMs: {} },
      metrics: { counters: {}, gauges: {} },
      sessions: NO_SESSIONS,
      cpuAtBeat: null,
      stopping: false,
      end: null,
    }
    this.members.set(worker.id, member)
    worker.on('message', (message: FromWorker) => this.hear(member, message))
    worker.on('error', (error) => {
      // There never was a process (its program has gone, no descriptors are left), and nothing else will be told of it.
      if (worker.process.pid === undefined) this.ended(member, notStarted(error))
      else this.log.warn(error, 'a message to a process was lost')
    })
    worker.on('exit', (code, signal) => this.ended(member, `ended (${signal ?? `exit code ${code}`})`))
    return member
  }

  /** Only now, so that it never serves a table that was replaced while it loaded. */
  private welcome(member: Member): void {
    member.ready = true
    this.send(member, { type: 'health', health: this.health })
    this.send(member, { type: 'table', table: this.table as RouteTable, ports: this.ports })
    if (this.cutOver !== null) this.hold(member, this.cutOver)
  }

  private send(member: Member, message: ToWorker): void {
    if (message.type === 'table') member.unanswered++
    if (member.worker.isConnected()) member.worker.send(message)
  }

  private hear(member: Member, message: FromWorker): void {
    member.lastBeat = performance.now()
    member.cpuAtBeat = null
    switch (message.type) {
      case 'ready':
        this.welcome(member)
        break
      case 'holding':
        if (message.hold === this.cutOver?.hold) this.noLongerAwaits(member, this.cutOver)
        break
      case 'applied':
        if (member.applied === null) this.failedStarts = 0
        this.answered(member)
        member.applied = { inventory: message.inventory, version: message.version }
        member.open = message.ports
        if (this.processes >= this.options.processes) this.events.onProblem('processes', null)
        this.take(member, message.beat)
        this.events.onApplied()
        break
      case 'beat':
        this.take(member, message.beat)
        if (message.beat.metrics !== undefined) this.ranForASecond(member)
        break
      case 'refused':
        this.answered(member)
        this.events.onRefused(message.version, message.reason)
        break
      case 'listening':
        this.port = message.port
        this.events.onListening(message.port)
        break
      case 'portFailed':
        this.events.onPortFailed(message.port, message.reason)
        break
      case 'suspect':
        this.events.onSuspect(message.instance)
        break
      case 'sessions':
        member.sessions = message.sample
        this.answers.get(message.ask)?.()
        break
      case 'problem':
        this.events.onProblem(message.key, message.message)
        break
    }
  }

  private take(member: Member, beat: Beat): void {
    member.beat = beat
    this.events.onBeat(beat)
    if (beat.metrics !== undefined) member.metrics = beat.metrics
    if (beat.moved !== undefined) this.events.onMoved(beat.moved)
  }

  private answered(member: Member): void {
    member.unanswered--
    member.unansweredS = 0
  }

  /** One that neither takes a table up nor refuses it would be waited for without end. */
  private ranForASecond(member: Member): void {
    if (member.unanswered === 0 || member.stopping || this.stopped) return
    if (++member.unansweredS < LONGEST_TABLE_S) return
    this.log.error({ pid: member.worker.process.pid }, 'a process of the router takes up no table and is replaced')
    if (member.applied === null) {
      member.worker.process.kill('SIGKILL')
      return
    }
    this.stopMember(member)
    this.fill()
  }

  private ended(member: Member, end: string): void {
    if (!this.members.delete(member.worker.id)) return
    member.end = end
    addCounts(this.retiredCounters, member.metrics.counters)
    this.events.onApplied()
    if (this.cutOver !== null) this.noLongerAwaits(member, this.cutOver)
    // Whoever was to take its place may have ended too, and what ends meanwhile is not missed while both are there.
    if (member.stopping) this.fill()
    else this.lost(member.worker.process.pid, end, member.applied === null)
  }

  /** One that nobody has stopped. */
  private lost(pid: number | undefined, end: string, beforeItsFirstTable: boolean): void {
    if (this.stopped) return
    this.log.error({ pid }, `a process of the router ${end}; another takes its place`)
    // One that was to replace another is missed by nobody.
    if (beforeItsFirstTable && this.processes < this.options.processes) {
      const { processes } = this.options
      this.events.onProblem('processes', `fewer than ${processes} carry traffic: a new one ${end}; it is tried again`)
    }
    this.fillLater(Math.min(RESTART_PAUSE_MS * 2 ** this.failedStarts, LONGEST_RESTART_PAUSE_MS))
    if (beforeItsFirstTable) this.failedStarts++
  }

  private replaceSilent(now: number): void {
    for (const member of this.members.values()) {
      if (now - member.lastBeat < this.options.timeouts.workerSilenceMs || isStarved(member, now)) continue
      this.log.error({ pid: member.worker.process.pid }, 'a process of the router fell silent and is replaced')
      // Not SIGTERM: it may be stopped, and must not wake up later with an old table.
      member.worker.process.kill('SIGKILL')
      member.lastBeat = now
    }
  }

  /**
   * Brings it to every process; `appliedEverywhere` says when they have it in force.
   *
   * @param awaitsWord one that takes apps to other instances waits for `release`, too
   */
  publish(table: RouteTable, ports: number[], awaitsWord = false): void {
    if (this.cutOver?.table === table) {
      this.cutOver.ports = ports
      return
    }
    const ready = [...this.members.values()].filter((member) => member.ready)
    const apps = ready.length > 1 || awaitsWord ? cutOvers(this.table as RouteTable, table) : []
    if (apps.length === 0) {
      this.tell(table, ports)
      return
    }
    const now = performance.now()
    // One that hangs is replaced after so long; one that gets no CPU sends nobody anywhere. One that overtakes another
    // has what is left: else tables that follow each other closely would never come into force, and their apps wait on.
    const until = this.cutOver?.until ?? now + this.options.timeouts.workerSilenceMs
    const cutOver: CutOver = {
      hold: ++this.holds,
      table,
      ports,
      apps,
      waitingFor: new Set(),
      held: false,
      awaitsWord,
      until,
    }
    this.cutOver = cutOver
    for (const member of ready) this.hold(member, cutOver)
    if (ready.length === 0) this.allHold(cutOver)
    setTimeout(() => {
      if (this.cutOver === cutOver) this.tell(cutOver.table, cutOver.ports)
    }, until - now).unref()
  }

  private hold(member: Member, cutOver: CutOver): void {
    cutOver.waitingFor.add(member)
    this.send(member, { type: 'hold', hold: cutOver.hold, apps: cutOver.apps })
  }

  private noLongerAwaits(member: Member, cutOver: CutOver): void {
    if (cutOver.waitingFor.delete(member) && cutOver.waitingFor.size === 0) this.allHold(cutOver)
  }

  private allHold(cutOver: CutOver): void {
    cutOver.held = true
    const hasWord = this.word !== null && reaches(this.word, cutOver.table)
    if (cutOver.awaitsWord && !hasWord) this.events.onHolding()
    else this.tell(cutOver.table, cutOver.ports)
  }

  /** The table that all processes hold, and none has in force before `release`; null for none. */
  get holding(): TableId | null {
    const { cutOver } = this
    return cutOver?.held ? { inventory: cutOver.table.inventory, version: cutOver.table.version } : null
  }

  /** Other routers hold this table, too. Null: nobody will give the word any more. */
  release(word: TableId | null): void {
    this.word = word
    const { cutOver } = this
    if (cutOver === null) return
    if (word === null) cutOver.awaitsWord = false
    if (cutOver.held && (word === null || reaches(word, cutOver.table))) this.tell(cutOver.table, cutOver.ports)
  }

  private tell(table: RouteTable, ports: number[]): void {
    this.cutOver = null
    this.table = table
    this.ports = ports
    this.broadcast({ type: 'table', table, ports })
  }

  publishHealth(health: Health): void {
    this.health = health
    this.broadcast({ type: 'health', health })
  }

  keep(instances: string[]): void {
    this.broadcast({ type: 'keep', instances })
  }

  /** One that is not ready yet will be told when it is. */
  private broadcast(message: ToWorker): void {
    for (const member of this.members.values()) if (member.ready) this.send(member, message)
  }

  /** Whether no process serves anything older; one that is about to start may have been told an older table. */
  appliedEverywhere(inventory: string, version: number): boolean {
    for (const { applied } of this.members.values()) {
      if (applied === null || applied.inventory !== inventory || applied.version < version) return false
    }
    return this.members.size > 0
  }

  /** Whether an app's own port leads to the router, whichever process a connection comes to. */
  hasOpen(port: number): boolean {
    for (const { open } of this.members.values()) if (!open.includes(port)) return false
    return this.members.size > 0
  }

  inFlight(): { inFlight: Record<string, number>; longLived: Record<string, number> } {
    const inFlight: Record<string, number> = {}
    const longLived: Record<string, number> = {}
    for (const { beat } of this.members.values()) {
      addCounts(inFlight, beat.inFlight)
      addCounts(longLived, beat.longLived)
    }
    return { inFlight, longLived }
  }

  metrics(): MetricsSnapshot {
    const sum: MetricsSnapshot = { counters: { ...this.retiredCounters }, gauges: {} }
    for (const { metrics } of this.members.values()) {
      addCounts(sum.counters, metrics.counters)
      addCounts(sum.gauges, metrics.gauges)
    }
    return sum
  }

  /** Of a process that does not answer within `withinMs`, what it said last counts. */
  async sessions(withinMs: number): Promise<SessionCount> {
    await Promise.all(
      [...this.members.values()].map(
        (member) =>
          new Promise<void>((resolve) => {
            const ask = ++this.asks
            const timer = setTimeout(done, withinMs)
            this.answers.set(ask, done)
            this.send(member, { type: 'sessions', ask })
            const { answers } = this
            function done() {
              clearTimeout(timer)
              answers.delete(ask)
              resolve()
            }
          }),
      ),
    )
    return countSessions([...this.members.values()].map(({ sessions }) => sessions))
  }

  /**
   * Puts a new process in the place of each, one after the other, without refusing or cutting anything. Whoever asks
   * while that goes on joins it.
   *
   * @returns null, or why the processes that were there stay: the program does not start any more, say
   */
  replaceOneByOne(): Promise<string | null> {
    this.replacing ??= this.replaceAll().then((problem) => {
      this.replacing = null
      this.events.onProblem('replace', problem)
      return problem
    })
    return this.replacing
  }

  private async replaceAll(): Promise<string | null> {
    for (const old of [...this.members.values()]) {
      if (this.stopped) return null
      // It has ended meanwhile, and what took its place is new.
      if (old.end !== null) continue
      const fresh = this.fork()
      const failure = typeof fresh === 'string' ? fresh : await this.firstTable(fresh)
      if (this.stopped) return null
      if (failure !== null) return `the processes are not replaced, and go on as they are: a new one ${failure}`
      if (old.end === null) this.stopMember(old)
      while (old.end === null && !this.stopped) await pause(20)
    }
    return null
  }

  /** @returns null when it carries traffic, or what became of it before it could */
  private async firstTable(fresh: Member): Promise<string | null> {
    while (fresh.applied === null && fresh.end === null && !this.stopped) await pause(20)
    if (fresh.applied !== null || fresh.end === null) return null
    const spoke = fresh.worker.process.pid !== undefined
    return spoke ? `${fresh.end} before it could carry traffic; its own words stand above this line` : fresh.end
  }

  private stopMember(member: Member): void {
    member.stopping = true
    const graceMs = this.options.timeouts.stopGraceMs
    this.send(member, { type: 'stop', graceMs })
    setTimeout(() => {
      if (this.members.has(member.worker.id)) member.worker.process.kill('SIGKILL')
    }, graceMs + 2000).unref()
  }

  /** Resolves when all have finished what they had, or had no more time. */
  async stop(): Promise<void> {
    this.stopped = true
    if (this.watchdog !== null) clearInterval(this.watchdog)
    if (this.nextFill !== null) clearTimeout(this.nextFill)
    for (const member of this.members.values()) this.stopMember(member)
    while (this.members.size > 0) await pause(10)
  }
}

/**
 * A process that is ready to run and gets no CPU is slow, not hung: to kill it would cut its connections and make the
 * machine busier still. One that has used a second without a word, or is stopped, is hung. Not for ever, though.
 */
function isStarved(member: Member, now: number): boolean {
  if (now - member.lastBeat > LONGEST_SILENCE_MS) return false
  const state = processState(member.worker.process.pid as number)
  if (state === null || (state.letter !== 'R' && state.letter !== 'D')) return false
  member.cpuAtBeat ??= state.cpuSeconds
  return state.cpuSeconds - member.cpuAtBeat < 1
}

const notStarted = (error: Error): string => `could not be started (${error.message})`

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
