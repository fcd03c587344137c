import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { CoppiceError } from '../../domain/errors.ts'
import { systemListeners } from '../../runtime/listeners.ts'
import { isAlive, systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { acquireProcessLock, type ProcessLock } from '../../store/process-lock.ts'
import { freeStackOptions, homePaths, STACK_ROWS, type StackOptions } from '../stack-options.ts'
import { becomesFree } from './ports.ts'
import { describeProcesses, type Programs, type StackSpec } from './processes.ts'
import { PROCESS_NAMES, type ProcessName, readState, type StackState, writeState } from './state-file.ts'
import { endRecorded, Supervised } from './supervised.ts'

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
  /** Of the embedded server; null with another one. */
  temporalUiUrl: string | null
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
  onProgress?: (words: string) => void
  /** What happens to the processes afterwards: deaths, restarts, adoptions. */
  onEvent?: (words: string) => void
}

const DEFAULTS: Omit<StackOptions, 'home'> = {
  port: Number(STACK_ROWS.port.fallback),
  apiPort: Number(STACK_ROWS.apiPort.fallback),
  temporalPort: Number(STACK_ROWS.temporalPort.fallback),
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
    const options =
      request.ports === 'free'
        ? await freeStackOptions(request.home)
        : { ...DEFAULTS, home: request.home, ...request.ports }
    return await new Starter(request, options, lock).start()
  } catch (error) {
    lock.release()
    throw error
  }
}

class Starter {
  readonly #request: StartStackOptions
  readonly #options: StackOptions
  readonly #lock: ProcessLock
  readonly #stateFile: string
  readonly #processes = new Map<ProcessName, Supervised>()
  #state!: StackState

  constructor(request: StartStackOptions, options: StackOptions, lock: ProcessLock) {
    this.#request = request
    this.#options = options
    this.#lock = lock
    this.#stateFile = homePaths(options.home).state
  }

  async start(): Promise<Stack> {
    const table = systemProcessTable()
    const left = readState(this.#stateFile)?.processes ?? {}
    const own = await table.row(process.pid)
    this.#state = {
      format: 1,
      starter: { pid: process.pid, startTime: own?.startTime ?? '' },
      phase: 'starting',
      options: this.#options,
      processes: left,
    }
    this.#save()
    const token = ensureToken(homePaths(this.#options.home).token)
    const specs = await describeProcesses(
      this.#options,
      this.#request.env ?? {},
      this.#request.programs ?? {},
      this.#progress,
    )
    for (const spec of specs) this.#add(spec)
    await this.#endUnfit(specs)
    await this.#refuseTakenPorts(specs)
    try {
      await this.#startAll(specs)
    } catch (error) {
      await this.#stopAll(specs, { keepInstances: true })
      throw error
    }
    this.#state.phase = 'ready'
    this.#save()
    return this.#toStack(specs, token)
  }

  #add(spec: StackSpec): void {
    const name = spec.name
    const supervised = new Supervised(spec, {
      record: async (record) => {
        if (record === null) delete this.#state.processes[name]
        else this.#state.processes[name] = record
        this.#save()
      },
      onEvent: (words) => this.#request.onEvent?.(words),
    })
    this.#processes.set(name, supervised)
  }

  /** What a killed starter left is adopted if it is what would be started now, and ended if not. */
  async #endUnfit(specs: StackSpec[]): Promise<void> {
    const table = systemProcessTable()
    for (const name of [...PROCESS_NAMES].reverse()) {
      const record = this.#state.processes[name]
      if (record === undefined) continue
      const alive = await isAlive(table, record.pid, record.startTime)
      if (alive && this.#processes.get(name)?.fingerprint === record.fingerprint) continue
      const spec = specs.find((other) => other.name === name) ?? { stopSignal: 'SIGTERM', stopGraceMs: 10_000 }
      if (alive) {
        this.#request.onEvent?.(`${name}: left by another start with other options, ended (pid ${record.pid})`)
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
        throw new CoppiceError(
          'InvalidInput',
          `port ${port} (${row.help}) is taken${holder === null ? '' : `, by ${holder}`}. ` +
            `Choose another one: npm start -- --${row.flag} ${port + 1}, or ${row.variable}=${port + 1} npm start`,
          { field: row.flag },
        )
      }
    }
  }

  async #startAll(specs: StackSpec[]): Promise<void> {
    const start = async (spec: StackSpec) => {
      const process = this.#processes.get(spec.name) as Supervised
      await process.start(this.#state.processes[spec.name])
    }
    for (const stage of [0, 1] as const) {
      const members = specs.filter((spec) => spec.stage === stage)
      if (members.length > 0) this.#progress(`Starting ${members.map((spec) => spec.label).join(', ')}`)
      // All are waited for: one that fails must not leave another half started behind its back.
      const results = await Promise.allSettled(members.map(start))
      const failed = results.find((result) => result.status === 'rejected')
      if (failed !== undefined) throw failed.reason
    }
  }

  async #stopAll(specs: StackSpec[], options: { keepInstances?: boolean }): Promise<void> {
    this.#state.phase = 'stopping'
    this.#save()
    for (const name of [...PROCESS_NAMES].reverse()) {
      const process = this.#processes.get(name)
      const spec = specs.find((other) => other.name === name)
      if (process === undefined || spec === undefined) continue
      // SIGINT tells the worker to stop the instances of the apps, SIGTERM to leave them running.
      const signal = name === 'worker' && !options.keepInstances ? 'SIGINT' : spec.stopSignal
      if (process.pid !== null)
        this.#progress(`Stopping ${spec.label}${signal === 'SIGINT' ? ' and the instances' : ''}`)
      if ((await process.stop(signal)) === 'killed') {
        this.#request.onEvent?.(`${name}: did not end within ${spec.stopGraceMs / 1000} s and was killed`)
      }
    }
    rmSync(this.#stateFile, { force: true })
    this.#lock.release()
  }

  #toStack(specs: StackSpec[], token: string): Stack {
    const { home, port, apiPort, uiPort, temporalPort, temporalAddress } = this.#options
    const of = (name: ProcessName): Supervised => {
      const process = this.#processes.get(name)
      if (process === undefined) throw new Error(`this stack runs no ${name}`)
      return process
    }
    const processes = this.#processes
    let stopped: Promise<void> | null = null
    return {
      home,
      options: this.#options,
      apiUrl: `http://127.0.0.1:${apiPort}`,
      token,
      routerUrl: `http://127.0.0.1:${port}`,
      temporalAddress: temporalAddress ?? `127.0.0.1:${temporalPort}`,
      temporalUiUrl: temporalAddress === null ? `http://127.0.0.1:${uiPort}` : null,
      get pids() {
        return Object.fromEntries([...processes].flatMap(([name, { pid }]) => (pid === null ? [] : [[name, pid]])))
      },
      kill: (name, signal) => of(name).kill(signal),
      fell: (name) => of(name).holdDown(),
      raise: (name) => of(name).start(),
      stop: (options = {}) => {
        stopped ??= this.#stopAll(specs, options)
        return stopped
      },
    }
  }

  #save(): void {
    writeState(this.#stateFile, this.#state)
  }

  readonly #progress = (words: string): void => this.#request.onProgress?.(words)
}

/** The control plane makes it too if it is not there; here it is made first, so that all of them can read it. */
function ensureToken(file: string): string {
  if (!existsSync(file)) {
    try {
      writeFileSync(file, `${randomBytes(32).toString('base64url')}\n`, { mode: 0o600, flag: 'wx' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
  return readFileSync(file, 'utf8').trim()
}

async function holderOf(port: number): Promise<string | null> {
  const find = systemListeners()
  const started = performance.now()
  for (const { pid } of await systemProcessTable().rows()) {
    // Hundreds of processes with thousands of sockets: the message is worth a second, not more.
    if (performance.now() - started > 1_000) return null
    const addresses = await find([pid]).catch(() => [])
    if (addresses.some((address) => address.endsWith(`:${port}`))) return `${commandOf(pid)} (pid ${pid})`
  }
  return null
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, 2).join(' ').trim()
  } catch {
    return 'another program'
  }
}
