import type { ChildProcess } from 'node:child_process'
import { readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { CoppiceError } from '../../../domain/errors.ts'
import { emptyTrash } from '../../artifacts/trees.ts'
import { type Clock, sleep, systemClock } from '../../clock.ts'
import type { InstanceSpec, Observation, PortLeases, Provider, Removal } from '../../contracts.ts'
import { diskFull } from '../../disk.ts'
import { eachApart } from '../../each-apart.ts'
import { type FindListeners, systemListeners } from '../../listeners.ts'
import { lastLines, pruneLogs, rotateLog } from '../../log-file.ts'
import { saysOurs } from '../../regular-file.ts'
import {
  commandOf,
  environmentOf,
  HOME_VARIABLE,
  INSTANCE_VARIABLE,
  marksOf,
  refuseTooLarge,
} from './app-environment.ts'
import { confinement } from './confinement.ts'
import { controlGroup, memberOf, sweepControlGroups } from './control-group.ts'
import { endFamily, familyOf, stillThere } from './family.ts'
import { freePort, type IsPortFree, isPortFree } from './free-port.ts'
import {
  beginAnew,
  furnish,
  type InstanceRecordFile,
  instanceDirectory,
  isGone,
  isId,
  readRecord,
  removeDirectory,
  trashOf,
  writeRecord,
} from './instance-directory.ts'
import { launch } from './launch.ts'
import { ageMs, isAlive, type ProcessRow, type ProcessTable, systemProcessTable } from './process-table.ts'
import { Suspensions, type Watched } from './suspensions.ts'

export type ProcessProviderOptions = {
  /** Directory with one directory an instance. One provider of one worker at a time (DESIGN D11). */
  home: string
  /** Marks the processes of this data directory. */
  homeId: string
  /** Directory with one log an instance; logs outlive their instances. */
  logsDir: string
  ports: PortLeases
  logger: Logger
  clock?: Clock
  /** Size in bytes past which a log is rotated, default 10 MiB; twice that is kept. Lower it where disks are small. */
  maxLogBytes?: number
  /** How often logs are looked at, in ms, default 5 s. An app can write past the bound for this long. */
  logIntervalMs?: number
  /** How long logs of instances that are no more are kept, in ms, default 7 days. */
  keepLogsMs?: number
  /** How many of them at most, default 200. */
  keepLogs?: number
  /**
   * How often processes are looked at, in ms, default 500: whether they are stopped, and whether those of an earlier
   * worker have ended, as only our own tell by themselves. Lower it where a stopped instance has to be seen sooner.
   */
  watchIntervalMs?: number
  /** Put before the command of each app; by default found out at the first start. */
  prefix?: () => Promise<string[]>
  table?: ProcessTable
  findListeners?: FindListeners
  isPortFree?: IsPortFree
  /** Called at each point of a start at which a worker can die; for tests of just that (DESIGN D17). */
  crashPoint?: (point: CrashPoint) => Promise<void>
}

/** What could not be removed may be by now: a mount that was taken away, a disk that answers again. */
const TRASH_INTERVAL_MS = 10 * 60_000

export const CRASH_POINTS = ['intent', 'furnished', 'spawned', 'recorded', 'started'] as const
export type CrashPoint = (typeof CRASH_POINTS)[number]

/** A clock that goes on by itself is never so far off what the kernel counts; one that was set is. */
const CLOCK_SET_MS = 2_000

/** Whoever is traced has run by then. */
const SECOND_LOOK_MS = 50

type Running = Extract<Observation, { state: 'running' }>
type Exited = Extract<Observation, { state: 'exited' }>
type StartedRecord = Extract<InstanceRecordFile, { phase: 'started' }>
type OwnChild = { watched: Watched; running: Running; exited: Exited | null }

/** Runs each instance as a process group of this machine; DESIGN D11 tells how they outlive their worker. */
export function createProcessProvider(options: ProcessProviderOptions): Provider & { close(): void } {
  return new ProcessProvider(options)
}

class ProcessProvider implements Provider {
  readonly name = 'process'
  readonly #options: ProcessProviderOptions
  readonly #clock: Clock
  readonly #table: ProcessTable
  readonly #prefix: () => Promise<string[]>
  /** Those that this process started: the kernel tells us how they end. */
  readonly #own = new Map<string, OwnChild>()
  /** Those that an earlier worker started: they are somebody else's children, so we have to look. */
  readonly #adopted = new Map<string, Watched>()
  readonly #suspensions: Suspensions
  readonly #suspended = new Set<string>()
  readonly #unsure = new Set<string>()
  /** Of which a directory alone is left, that can be neither removed nor moved: tried again with the trash. */
  readonly #immovable = new Set<string>()
  /** Looks are taken one after the other; who asks for one while another goes on shares the next. */
  #lastLook: Promise<void> = Promise.resolve()
  #nextLook: Promise<void> | null = null
  readonly #tails = new Map<string, Promise<unknown>>()
  readonly #beingRemoved = new Set<string>()
  readonly #listeners = new Set<(id: string) => void>()
  readonly #cancelTimers: Array<() => void>

  constructor(options: ProcessProviderOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#table = options.table ?? systemProcessTable()
    this.#prefix =
      options.prefix ??
      once(() =>
        confinement({
          uid: process.getuid?.() ?? -1,
          platform: process.platform,
          path: process.env.PATH ?? '',
          logger: options.logger,
        }),
      )
    this.#suspensions = new Suspensions({
      table: this.#table,
      findListeners: this.#findListeners,
      family: async (id) => familyOf(await this.#family(id)),
    })
    this.#cancelTimers = [
      this.#every(options.watchIntervalMs ?? 500, () => this.#look()),
      this.#every(options.logIntervalMs ?? 5_000, () => this.#boundLogs()),
      this.#every(TRASH_INTERVAL_MS, async () => {
        sweepControlGroups(options.homeId)
        await emptyTrash(trashOf(options.home))
        this.#immovable.clear()
      }),
    ]
  }

  ensure(spec: InstanceSpec): Promise<Running> {
    return this.#serially(spec.id, async () => {
      const found = await this.observe(spec.id)
      if (found.state === 'running') return found
      return this.#start(spec).catch(diskFull)
    })
  }

  async observe(id: string): Promise<Observation> {
    const own = this.#own.get(id)
    // One whose directory was taken away runs on with neither files nor HOME; it has to be made anew.
    if (own && own.exited === null && (await isGone(this.#directory(id)))) return { state: 'absent' }
    if (own?.exited) return own.exited
    if (own)
      return { ...own.running, startedAt: this.#startOf(own.watched, own.running), suspended: this.#suspended.has(id) }
    const record = await this.#recorded(id)
    if (record === null) return { state: 'absent' }
    const { pid, startTime, port } = record
    const startedAt = this.#startOf(record, record)
    if (await isAlive(this.#table, pid, startTime)) {
      const known = this.#adopted.has(id)
      this.#adopted.set(id, { pid, startTime, port })
      if (!known) await this.#lookClosely(id)
      return { state: 'running', address: `127.0.0.1:${port}`, pid, startedAt, suspended: this.#suspended.has(id) }
    }
    return { state: 'exited', code: null, signal: null, at: this.#clock.now() }
  }

  /**
   * When it started, by the clock as it is now: what was written down then is of no use when the clock was set since, and
   * what waits for it counts from its start (R13.8).
   */
  #startOf({ startTime }: { startTime: string }, { startedAt }: { startedAt: number }): number {
    const age = ageMs(startTime)
    const byAge = this.#clock.now() - (age ?? 0)
    return age === null || Math.abs(byAge - startedAt) < CLOCK_SET_MS ? startedAt : byAge
  }

  remove(id: string, { graceMs }: { graceMs: number }): Promise<Removal> {
    return this.#serially(id, async () => {
      this.#beingRemoved.add(id)
      try {
        const living = await this.#end(id, graceMs)
        await controlGroup(this.#options.homeId, id)?.remove()
        // The directory goes last: until then a rerun finds the instance.
        await this.#options.ports.release(id)
        const directory = await removeDirectory(this.#directory(id))
        this.#forget(id)
        if (directory?.inPlace) this.#immovable.add(id)
        const left = [...(living.length > 0 ? [stillThere(living)] : []), ...(directory ? [directory.words] : [])]
        for (const words of left) this.#options.logger.warn({ instance: id }, words)
        return { left: left.length === 0 ? null : left.join('; ') }
      } finally {
        this.#beingRemoved.delete(id)
      }
    })
  }

  async list(): Promise<string[]> {
    const { home } = this.#options
    const homeId = this.#options.homeId
    const directories = (await readdir(home).catch(nothingThere)).filter((id) => !this.#immovable.has(id))
    // Nothing can be done about those, and nothing has to be: they end by themselves.
    const doomed = new Set((await this.#table.rows()).flatMap((row) => (row.doomed ? [row.pid] : [])))
    const tagged = (await this.#table.tagged([HOME_VARIABLE, INSTANCE_VARIABLE])).filter(({ pid }) => !doomed.has(pid))
    const marked = tagged
      .filter(({ values }) => values[HOME_VARIABLE] === homeId)
      .map(({ values }) => values[INSTANCE_VARIABLE] ?? '')
    const folder = await realpath(home).catch(() => home)
    const places = (await this.#table.places(folder)).filter(({ pid }) => !doomed.has(pid))
    const placed = places.flatMap((place) => [
      ...place.folders.map((path) => path.slice(folder.length + 1).split('/', 1)[0]),
      memberOf(place.controlGroup, homeId),
    ])
    return [...new Set([...directories, ...marked, ...placed])].flatMap((id) => (id && isId(id) ? [id] : [])).sort()
  }

  async listeners(id: string, port?: number): Promise<string[]> {
    const family = (await familyOf(await this.#family(id))).filter(({ doomed }) => !doomed)
    return this.#findListeners(
      family.map(({ pid }) => pid),
      port,
    )
  }

  logLines(id: string, count: number): Promise<string[]> {
    return lastLines(this.#logPath(id), count)
  }

  onChange(listener: (id: string) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Ends the watching; instances run on. */
  close(): void {
    for (const cancel of this.#cancelTimers) cancel()
    this.#listeners.clear()
  }

  async #start(spec: InstanceSpec): Promise<Running> {
    const { id } = spec
    const at = this.#options.crashPoint ?? (async () => undefined)
    const directory = this.#directory(id)
    const homeId = this.#options.homeId
    // What an earlier run left behind would hold the port, and share the new one's directories.
    const living = (await this.#end(id, 0)).filter(({ doomed }) => !doomed)
    if (living.length > 0) throw new CoppiceError('Unavailable', `${stillThere(living)} (${id})`)
    this.#forget(id)
    await beginAnew(directory, id)
    await at('intent')
    const port = await freePort(this.#options.ports, id, this.#options.isPortFree ?? isPortFree)
    const environment = environmentOf(spec, { port, directory, homeId })
    const command = commandOf(spec, port)
    refuseTooLarge(command, environment)
    await furnish(directory, spec.artifactPath, spec.links)
    await at('furnished')
    let own: OwnChild | undefined
    const child = await launch({
      command,
      prefix: await this.#prefix(),
      environment,
      marks: marksOf(id, { directory, homeId }),
      workingDirectory: directory.work,
      logPath: this.#logPath(id),
      record: async (pid) => {
        await at('spawned')
        const row = await this.#table.row(pid)
        if (!row) throw new CoppiceError('Internal', `the process ${pid} of ${id} ended before it began`)
        const watched = { pid, startTime: row.startTime, port }
        controlGroup(homeId, id)?.take(pid)
        const startedAt = this.#clock.now()
        await writeRecord(directory, { phase: 'started', id, ...watched, startedAt, homeId })
        const running = { state: 'running', address: `127.0.0.1:${port}`, pid, startedAt, suspended: false } as const
        own = { watched, running, exited: null }
        await at('recorded')
      },
    })
    if (!own) throw new Error('launched without a record')
    this.#watchOwn(id, child, own)
    await at('started')
    return own.running
  }

  #watchOwn(id: string, child: ChildProcess, own: OwnChild): void {
    this.#own.set(id, own)
    this.#adopted.delete(id)
    const ended = () => {
      own.exited = { state: 'exited', code: child.exitCode, signal: child.signalCode, at: this.#clock.now() }
      if (this.#own.get(id) === own) this.#tell(id)
    }
    if (child.exitCode !== null || child.signalCode !== null) ended()
    else child.once('exit', ended)
  }

  #look(): Promise<void> {
    this.#nextLook ??= this.#lastLook.then(async () => {
      this.#nextLook = null
      this.#lastLook = this.#lookAtAll().catch((error) =>
        this.#options.logger.warn({ err: error }, 'could not look at the processes of instances'),
      )
      await this.#lastLook
    })
    return this.#nextLook
  }

  /** Nobody has looked at it before, and who asks now acts upon the answer. */
  async #lookClosely(id: string): Promise<void> {
    await this.#look()
    if (!this.#unsure.has(id)) return
    await sleep(this.#clock, SECOND_LOOK_MS)
    await this.#look()
  }

  async #lookAtAll(): Promise<void> {
    const watched = new Map(this.#adopted)
    for (const [id, own] of this.#own) if (own.exited === null) watched.set(id, own.watched)
    if (watched.size === 0) return
    const found = await this.#suspensions.look(watched)
    for (const [id, leader] of watched) {
      // It may have been started anew, or removed, while we looked.
      const adopted = this.#adopted.get(id)?.pid === leader.pid
      if (!adopted && this.#own.get(id)?.watched !== leader) continue
      const finding = found.get(id)
      const ended = adopted && finding === undefined
      if (ended) this.#adopted.delete(id)
      mark(this.#unsure, id, finding === 'unsure')
      const changed = finding !== 'unsure' && mark(this.#suspended, id, finding === 'suspended')
      if (ended || changed) this.#tell(id)
    }
  }

  #forget(id: string): void {
    this.#own.delete(id)
    this.#adopted.delete(id)
    this.#suspended.delete(id)
    this.#unsure.delete(id)
    this.#immovable.delete(id)
  }

  #tell(id: string): void {
    if (this.#beingRemoved.has(id)) return
    for (const listener of this.#listeners) listener(id)
  }

  async #end(id: string, graceMs: number): Promise<ProcessRow[]> {
    return endFamily({ ...(await this.#family(id)), graceMs, clock: this.#clock })
  }

  async #family(id: string) {
    const leader = this.#own.get(id)?.watched ?? this.#adopted.get(id) ?? (await this.#recorded(id))
    const homeId = this.#options.homeId
    return {
      table: this.#table,
      mark: { [INSTANCE_VARIABLE]: id, [HOME_VARIABLE]: homeId },
      folder: await realpath(this.#directory(id).path).catch(() => this.#directory(id).path),
      controlGroup: controlGroup(homeId, id),
      leader,
    }
  }

  /** Null for one of another data directory, whose process is not ours to end. */
  async #recorded(id: string): Promise<StartedRecord | null> {
    const { homeId } = this.#options
    const record = await readRecord(this.#directory(id), id)
    return record?.phase === 'started' && (record.homeId ?? homeId) === homeId ? record : null
  }

  get #findListeners(): FindListeners {
    return this.#options.findListeners ?? systemListeners()
  }

  /** Also logs of instances that are gone: what one wrote last, or while no worker looked, is bounded at the next look. */
  async #boundLogs(): Promise<void> {
    await eachApart([() => this.#rotateLogs(), () => this.#pruneLogs()], (chore) => chore())
  }

  async #rotateLogs(): Promise<void> {
    const { logsDir, logger, maxLogBytes = 10 * 1024 * 1024 } = this.#options
    const names = (await readdir(logsDir).catch(nothingThere)).filter((name) => name.endsWith('.log'))
    await eachApart(names, async (name) => {
      if ((await rotateLog(join(logsDir, name), maxLogBytes)) === 'rotated') logger.debug({ log: name }, 'rotated it')
    })
  }

  async #pruneLogs(): Promise<void> {
    await pruneLogs(this.#options.logsDir, {
      inUse: new Set(await this.list()),
      maxAgeMs: this.#options.keepLogsMs ?? 7 * 24 * 3_600_000,
      maxFiles: this.#options.keepLogs ?? 200,
      now: this.#clock.now(),
    })
  }

  /** One at a time for each id, in the order of the calls; different ids do not wait for each other. */
  #serially<T>(id: string, work: () => Promise<T>): Promise<T> {
    if (!isId(id)) return Promise.reject(new CoppiceError('InvalidInput', `"${id}" is no id of an instance`))
    const result = (this.#tails.get(id) ?? Promise.resolve()).then(work)
    const tail = result.then(
      () => undefined,
      () => undefined,
    )
    this.#tails.set(id, tail)
    void tail.then(() => this.#tails.get(id) === tail && this.#tails.delete(id))
    return result
  }

  #every(ms: number, work: () => Promise<void>): () => void {
    let cancel = () => {}
    let closed = false
    const next = () => {
      if (closed) return
      cancel = this.#clock.after(ms, () => {
        work()
          .catch((error) =>
            this.#options.logger.warn({ err: error }, 'the process provider could not look after its instances'),
          )
          .finally(next)
      })
    }
    next()
    return () => {
      closed = true
      cancel()
    }
  }

  #directory(id: string) {
    return instanceDirectory(this.#options.home, id)
  }

  #logPath(id: string): string {
    return join(this.#options.logsDir, `${id}.log`)
  }
}

/** @returns whether that is a change. */
function mark(set: Set<string>, id: string, member: boolean): boolean {
  if (member === set.has(id)) return false
  if (member) set.add(id)
  else set.delete(id)
  return true
}

/**
 * Somebody may remove the whole folder while instances run, or lock it away: then they are known by their marks only.
 * The doctor tells of a folder that cannot be read.
 */
function nothingThere(error: NodeJS.ErrnoException): string[] {
  if (saysOurs(error)) throw error
  return []
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make().catch((error) => {
      made = undefined
      throw error
    })
    return made
  }
}
