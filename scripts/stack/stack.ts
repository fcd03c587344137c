import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { readOrMakeToken } from '../../control/auth.ts'
import { asDiskFull } from '../../domain/disk-full.ts'
import { CoppiceError } from '../../domain/errors.ts'
import { openLineFile } from '../../logging/line-output.ts'
import { systemListeners } from '../../runtime/listeners.ts'
import { rotateLog } from '../../runtime/log-file.ts'
import { isAlive, systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { isCopy } from '../../store/home-id.ts'
import { acquireProcessLock, type ProcessLock } from '../../store/process-lock.ts'
import { sweepDrafts } from '../backup/drafts.ts'
import { freeStackOptions, homePaths, STACK_ROWS, type StackOptions, withFreePorts } from '../stack-options.ts'
import { uiPortOf } from '../temporal-server.ts'
import type { OnProgress } from '../toolchain/tools.ts'
import { removeInstances } from './instances.ts'
import { refuseOthers } from './others.ts'
import { becomesFree } from './ports.ts'
import { describeProcesses, type Programs, type StackSpec } from './processes.ts'
import { noteExit, PROCESS_NAMES, type ProcessName, readState, type StackState, writeState } from './state-file.ts'
import { familyOf } from './strays.ts'
import { endRecorded, Supervised } from './supervised.ts'
import { openTemporalUi, type TemporalUi } from './temporal-ui.ts'

/**
 * A running stack: Temporal, control plane, router and worker on one data directory, each kept running. `npm start` is
 * one, and so is what the integration tests and load tests run against.
 */
export type Stack = {
  home: string
  options: StackOptions
  apiUrl: string
  /** Bearer token of the API. */
  token: string
  /** Where the router listens. */
  routerUrl: string
  temporalAddress: string
  readonly pids: { readonly [name in ProcessName]?: number }
  /** One signal, e.g. SIGKILL or SIGSTOP; what dies of it is started again after a back-off. */
  kill(name: ProcessName, signal: NodeJS.Signals): void
  /** SIGKILL, and it stays down until `raise`. */
  fell(name: ProcessName): Promise<void>
  raise(name: ProcessName): Promise<void>
  /** Ends everything that was started, instances of apps included unless told otherwise. Apps stay wanted. */
  stop(options?: { keepInstances?: boolean }): Promise<void>
}

export type StartStackOptions = {
  home: string
  /** `free`: any that are; else those of `npm start`, and what is given here. */
  ports?: 'free' | Partial<StackOptions>
  /** More for the environment of the processes, e.g. COPPICE_LOG_LEVEL. */
  env?: NodeJS.ProcessEnv
  programs?: Programs
  /** What is being done, in the present tense. */
  onProgress?: OnProgress
  /** What happens to the processes afterwards: deaths, restarts, adoptions. */
  onEvent?: (words: string) => void
  /** Aborted: gives up the start, and ends what it has started so far. */
  signal?: AbortSignal
}

const MAX_EVENT_LOG_BYTES = 1024 * 1024
/** While what runs cannot be written down, in ms. */
const SAVE_AGAIN_MS = 1_000

const DEFAULTS: Omit<StackOptions, 'home'> = {
  port: Number(STACK_ROWS.port.fallback),
  apiPort: Number(STACK_ROWS.apiPort.fallback),
  temporalPort: Number(STACK_ROWS.temporalPort.fallback),
  temporalUi: false,
  uiPort: Number(STACK_ROWS.uiPort.fallback),
  temporalAddress: null,
  instancePorts: null,
  appPorts: null,
}

/** Another process holds the data directory. */
export class AlreadyRunning extends Error {
  constructor(home: string) {
    super(`a stack runs on ${home} already`)
    this.name = 'AlreadyRunning'
  }
}

/** Starts a stack, or adopts what a killed starter left of one. Throws AlreadyRunning, StartFailed, CoppiceError. */
export async function startStack(request: StartStackOptions): Promise<Stack> {
  const paths = homePaths(request.home)
  mkdirSync(request.home, { recursive: true, mode: 0o700 })
  const lock = acquireProcessLock(paths.lock)
  if (lock === null) throw new AlreadyRunning(request.home)
  try {
    await refuseOthers(request.home)
    // Its router would serve by the original's table, before anybody can tell it another one.
    if (isCopy(paths.inventory)) rmSync(paths.routerTable, { force: true })
    for (const words of await sweepDrafts(request.home))
      request.onEvent?.(`of a backup or a restore something is left: ${words}`)
    const asked =
      request.ports === 'free'
        ? await freeStackOptions(request.home)
        : { ...DEFAULTS, home: request.home, ...request.ports }
    const { options, lines } = await withFreePorts(asked, await optionsOfLiving(paths.state))
    for (const line of lines) request.onEvent?.(line)
    return await new Starter(request, options, lock).start()
  } catch (error) {
    lock.release()
    throw error
  }
}

/** Those of what a killed starter has left, as long as any of it runs. */
async function optionsOfLiving(stateFile: string): Promise<StackOptions | null> {
  const state = readState(stateFile)
  return state !== null && (await anyLives(state)) ? state.options : null
}

async function anyLives({ processes }: StackState): Promise<boolean> {
  const table = systemProcessTable()
  const living = Object.values(processes).map(({ pid, startTime }) => isAlive(table, pid, startTime))
  return (await Promise.all(living)).includes(true)
}

class Starter {
  readonly #request: StartStackOptions
  readonly #options: StackOptions
  readonly #lock: ProcessLock
  readonly #stateFile: string
  readonly #eventLog: ReturnType<typeof openLineFile>
  /** Runs while what runs could not be written down. */
  #unsaved: NodeJS.Timeout | null = null
  readonly #processes = new Map<ProcessName, { process: Supervised; spec: StackSpec }>()
  #ui: TemporalUi | null = null
  /** Before, what a predecessor left is not this start's to end. */
  #hasTakenOver = false
  #stopped: Promise<void> | null = null
  #state!: StackState

  constructor(request: StartStackOptions, options: StackOptions, lock: ProcessLock) {
    this.#request = request
    this.#options = options
    this.#lock = lock
    const paths = homePaths(options.home)
    this.#stateFile = paths.state
    this.#eventLog = openLineFile(
      paths.log('start'),
      (lost, why) => `${new Date().toISOString()} ${lost} lines were lost here: ${why}`,
    )
  }

  async start(): Promise<Stack> {
    const own = await systemProcessTable().row(process.pid)
    this.#state = {
      format: 1,
      starter: { pid: process.pid, startTime: own?.startTime ?? '' },
      phase: 'starting',
      options: this.#options,
      processes: readState(this.#stateFile)?.processes ?? {},
    }
    this.#save()
    // Whoever waits for the start is told why it ended.
    const giveUp = () => void this.#stop({}).catch(() => {})
    this.#request.signal?.addEventListener('abort', giveUp, { once: true })
    try {
      // The control plane makes it too if it is not there; here it is made first, so that all of them can read it.
      const token = readOrMakeToken(homePaths(this.#options.home).token)
      const { env = {}, programs = {} } = this.#request
      const specs = await describeProcesses(this.#options, {
        env,
        programs,
        onProgress: this.#progress,
        signal: this.#request.signal,
      })
      for (const spec of specs) this.#add(spec)
      await this.#endUnfit(specs)
      await this.#refuseTakenPorts(specs)
      await this.#startAll(specs)
      await this.#openUi()
      this.#request.signal?.throwIfAborted()
      this.#state.phase = 'ready'
      this.#save()
      return this.#toStack(token)
    } catch (error) {
      // What was left is among the events; the caller wants to know why there is no stack.
      await this.#stop({}).catch(() => {})
      throw error
    } finally {
      this.#request.signal?.removeEventListener('abort', giveUp)
    }
  }

  #add(spec: StackSpec): void {
    const name = spec.name
    const supervised = new Supervised(spec, {
      record: async (record) => {
        if (record === null) delete this.#state.processes[name]
        else this.#state.processes[name] = record
        this.#save()
      },
      onEvent: this.#event,
      onExit: (how) => noteExit(this.#state, name, { at: Date.now(), how }),
    })
    this.#processes.set(name, { process: supervised, spec })
  }

  /** What a killed starter left is adopted if it is what would be started now, and ended if not. */
  async #endUnfit(specs: StackSpec[]): Promise<void> {
    const table = systemProcessTable()
    for (const name of [...PROCESS_NAMES].reverse()) {
      const record = this.#state.processes[name]
      if (record === undefined) continue
      const alive = await isAlive(table, record.pid, record.startTime)
      if (alive && this.#processes.get(name)?.process.fingerprint === record.fingerprint) continue
      const spec = specs.find((other) => other.name === name) ?? { stopSignal: 'SIGTERM', stopGraceMs: 10_000 }
      if (alive) {
        this.#event(`${name}: left by another start with other options, ended (pid ${record.pid})`)
        await endRecorded(record, spec, table)
      }
      delete this.#state.processes[name]
      this.#save()
    }
  }

  async #refuseTakenPorts(specs: StackSpec[]): Promise<void> {
    for (const { name, listens } of specs) {
      if (this.#state.processes[name] !== undefined) continue
      for (const { port, row } of listens) {
        // What was just ended may hold its port for an instant.
        if (await becomesFree(port, '127.0.0.1', 500)) continue
        const holder = await holderOf(port)
        if (holder !== null && (await familyOf(this.#options.home)).has(holder))
          throw new CoppiceError(
            'InvalidInput',
            `port ${port} (${row.help}) is held by pid ${holder}, which works on this data directory: coppice down, then npm start`,
            { field: 'home' },
          )
        throw new CoppiceError(
          'InvalidInput',
          `port ${port} (${row.help}) is taken${holder === null ? '' : `, by ${commandOf(holder)} (pid ${holder})`}. ` +
            `Choose another one: npm start -- --${row.flag} ${port + 1}, or ${row.variable}=${port + 1} npm start` +
            (row === STACK_ROWS.temporalPort
              ? `. If it is a Temporal server, use it: --temporal-address 127.0.0.1:${port}`
              : ''),
          { field: row.flag },
        )
      }
    }
  }

  /**
   * Side by side: each of them waits for what it needs of the others, and the worker has its workflows to bundle. The
   * first one that fails ends the attempt, and with it the others.
   */
  async #startAll(specs: StackSpec[]): Promise<void> {
    this.#request.signal?.throwIfAborted()
    this.#hasTakenOver = true
    const words = `Starting ${specs.map((spec) => spec.label).join(', ')}`
    this.#progress(words)
    const waiting = new Set(specs.map((spec) => spec.label))
    const start = async ({ name, label }: StackSpec) => {
      await this.#processes.get(name)?.process.start(this.#state.processes[name])
      waiting.delete(label)
      this.#progress(words, `waiting for ${[...waiting].join(', ')}`)
    }
    await Promise.all(specs.map(start))
  }

  /** Here and not in a process of its own: who looks at it has `npm start` running. */
  async #openUi(): Promise<void> {
    const { temporalUi, uiPort } = this.#options
    const temporal = this.#processes.get('temporal')?.process
    if (temporal !== undefined && temporalUi) this.#ui = await openTemporalUi(uiPort, () => uiPortOf(temporal.drawn))
  }

  /** In the reverse order of the start; once, however often it is asked for. */
  #stop(how: { keepInstances?: boolean }): Promise<void> {
    this.#stopped ??= this.#stopAll(how)
    return this.#stopped
  }

  async #stopAll(how: { keepInstances?: boolean }): Promise<void> {
    this.#state.phase = 'stopping'
    this.#save()
    await this.#ui?.close()
    let left: unknown = null
    for (const name of [...PROCESS_NAMES].reverse()) {
      const entry = this.#processes.get(name)
      if (entry === undefined) continue
      const { process, spec } = entry
      // SIGINT tells the worker to stop the instances of the apps, SIGTERM to leave them running.
      const withInstances = name === 'worker' && !how.keepInstances
      if (process.pid !== null) this.#progress(`Stopping ${spec.label}${withInstances ? ' and the instances' : ''}`)
      if ((await process.stop(withInstances ? 'SIGINT' : spec.stopSignal)) === 'killed') {
        this.#event(`${name}: did not end within ${spec.stopGraceMs / 1000} s and was killed`)
      }
      if (withInstances && this.#hasTakenOver) left = await this.#removeInstances()
    }
    // What a predecessor left and this start has not taken over yet stays written down for the next one.
    if (this.#unsaved !== null) clearInterval(this.#unsaved)
    if (!(await anyLives(this.#state))) rmSync(this.#stateFile, { force: true })
    this.#eventLog.close()
    this.#lock.release()
    if (left !== null) throw left
  }

  /**
   * The worker has ended them, unless it could not: it was about to be started again, was killed, or died of the signal
   * before it could heed it. They outlive it, so nobody else will.
   *
   * @returns why some are left, or null.
   */
  async #removeInstances(): Promise<unknown> {
    try {
      await removeInstances(this.#options.home, this.#progress)
      return null
    } catch (error) {
      this.#event(`instances may be left: ${(error as Error).message}`)
      return error
    }
  }

  #toStack(token: string): Stack {
    const { home, port, apiPort, temporalPort, temporalAddress } = this.#options
    const of = (name: ProcessName): Supervised => {
      const entry = this.#processes.get(name)
      if (entry === undefined) throw new Error(`this stack runs no ${name}`)
      return entry.process
    }
    const processes = this.#processes
    return {
      home,
      options: this.#options,
      apiUrl: `http://127.0.0.1:${apiPort}`,
      token,
      routerUrl: `http://127.0.0.1:${port}`,
      temporalAddress: temporalAddress ?? `127.0.0.1:${temporalPort}`,
      get pids() {
        const entries = [...processes].map(([name, { process }]) => [name, process.pid ?? undefined])
        return Object.fromEntries(entries.filter(([, pid]) => pid !== undefined))
      },
      kill: (name, signal) => of(name).kill(signal),
      fell: (name) => of(name).holdDown(),
      raise: (name) => of(name).start(),
      stop: (how = {}) => this.#stop(how),
    }
  }

  /**
   * What cannot be written down is started all the same, and written down as soon as it can be: without a router there
   * is no traffic, without the record the next start may find its port taken by a process that it does not know.
   */
  #save(): void {
    try {
      writeState(this.#stateFile, this.#state)
      if (this.#unsaved === null) return
      clearInterval(this.#unsaved)
      this.#unsaved = null
      this.#event('what runs is written down again')
    } catch (error) {
      // What keeps a start from writing at all is to be mended first; a full disk passes.
      if (this.#state.phase === 'starting' && asDiskFull(error) === null) throw error
      if (this.#unsaved !== null) return
      this.#unsaved = setInterval(() => this.#save(), SAVE_AGAIN_MS).unref()
      this.#event(`what runs cannot be written down, which is tried again every second: ${(error as Error).message}`)
    }
  }

  readonly #progress: OnProgress = (words, detail) => this.#request.onProgress?.(words, detail)

  /** Also into a log: whoever attaches reads it there. */
  readonly #event = (words: string): void => {
    this.#request.onEvent?.(words)
    this.#eventLog.write(`${new Date().toISOString()} ${words}\n`)
    void rotateLog(homePaths(this.#options.home).log('start'), MAX_EVENT_LOG_BYTES).catch(() => {})
  }
}

/** By halves: each look goes through all sockets of the machine. Null where it belongs to another user. */
async function holderOf(port: number): Promise<number | null> {
  const find = systemListeners()
  const listens = async (pids: number[]) => (await find(pids, port).catch(() => [])).length > 0
  let suspects = (await systemProcessTable().rows()).map(({ pid }) => pid)
  if (!(await listens(suspects))) return null
  while (suspects.length > 1) {
    const half = suspects.slice(0, Math.ceil(suspects.length / 2))
    suspects = (await listens(half)) ? half : suspects.slice(half.length)
  }
  return suspects[0] ?? null
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, 2).join(' ').trim()
  } catch {
    return 'another program'
  }
}
