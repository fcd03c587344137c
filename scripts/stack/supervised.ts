import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { lastLines, openLog, rotateLog } from '../../runtime/log-file.ts'
import { isAlive, type ProcessTable, systemProcessTable } from '../../runtime/providers/process/process-table.ts'

/**
 * One process that is kept running.
 *
 * States: idle → starting → up ⇄ backing off; `held` (down on purpose, a test's or a stop's) until `start` is called
 * again. It dies: it is started again after a back-off that doubles from 100 ms to 10 s and falls back once it has been
 * up for 30 s. One that hangs does not die: it is asked now and then whether it still does its work, and killed when it
 * gave no answer often enough. Every exit and restart is told to `onEvent`.
 *
 * The process leads a session of its own, so that Ctrl-C in a terminal reaches only the supervisor, which then stops
 * things in their order; and it writes to its log file itself, so that it outlives a killed supervisor, whose
 * successor adopts it by pid and start time.
 */
export type SupervisedSpec = {
  name: string
  command: string[]
  /**
   * More arguments, drawn anew for each process, such as ports of which any will do. A process that drew others is still
   * the same program: what is drawn is no part of the fingerprint.
   */
  draw?: () => Promise<string[]>
  /** The whole environment. */
  env: NodeJS.ProcessEnv
  cwd: string
  logFile: string
  stopSignal: NodeJS.Signals
  /** How long it may take to end after `stopSignal` before SIGKILL, in ms. */
  stopGraceMs: number
  /** Resolves once the process serves; rejects when the signal is aborted. */
  ready: (signal: AbortSignal, pid: number) => Promise<void>
  readyTimeoutMs: number
  /**
   * Whether it still does its work; what rejects or takes too long is a no. Default: nobody asks. It is asked again and
   * again, so it must cost next to nothing.
   */
  answers?: (signal: AbortSignal, pid: number) => Promise<boolean>
  /** From one question to the next, in ms; default 10 s. Half of it is what an answer may take. */
  askEveryMs?: number
  /** False leaves a dead one dead. */
  restart: boolean
}

export type ProcessRecord = {
  pid: number
  /** Opaque; tells it from another process that got its pid. */
  startTime: string
  /** Of what it was started with; a process with another one is not adopted. */
  fingerprint: string
  /** What it drew. */
  drawn?: string[]
}

export type SupervisorHooks = {
  /** Writes down, durably, what runs under this name; null for nothing. */
  record: (record: ProcessRecord | null) => Promise<void>
  onEvent: (words: string) => void
  /** It ended by itself, and is started again; told before that is recorded. */
  onExit?: (how: string) => void
  table?: ProcessTable
}

const FIRST_BACKOFF_MS = 100
const LONGEST_BACKOFF_MS = 10_000
const STEADY_MS = 30_000
/** Exits before it served for the first time, after which a start is given up. */
const FIRST_ATTEMPTS = 3
const ASK_EVERY_MS = 10_000
/** So many in a row are no slow machine any more: with 10 s between them a minute passes. */
const ASKED_IN_VAIN = 6
const MAX_LOG_BYTES = 8 * 1024 * 1024
const LOG_CHECK_MS = 5_000
const FAILURE_LINES = 20

/** Waits for one line before it becomes the program, and ends when the line never comes: nothing runs unrecorded. */
const GATE = 'read -r go || exit 97; exec "$@"'

export class StartFailed extends Error {
  readonly logFile: string
  /** The last ones it wrote. */
  readonly logLines: string[]
  constructor(name: string, why: string, logFile: string, logLines: string[]) {
    super(`${name} ${why}`)
    this.name = 'StartFailed'
    this.logFile = logFile
    this.logLines = logLines
  }
}

export class Supervised {
  readonly spec: SupervisedSpec
  readonly fingerprint: string
  readonly #hooks: SupervisorHooks
  readonly #table: ProcessTable
  #running: (ProcessRecord & { since: number; exited: Promise<string> }) | null = null
  /** Aborted when it shall be down. */
  #wanted = new AbortController()
  #loop: Promise<void> | null = null
  #served = false

  constructor(spec: SupervisedSpec, hooks: SupervisorHooks) {
    this.spec = spec
    this.#hooks = hooks
    this.#table = hooks.table ?? systemProcessTable()
    const relevant = Object.entries(spec.env).filter(([name]) => name.startsWith('COPPICE_'))
    this.fingerprint = createHash('sha256')
      .update(JSON.stringify([spec.command, relevant.sort()]))
      .digest('hex')
      .slice(0, 16)
  }

  get pid(): number | null {
    return this.#running?.pid ?? null
  }

  /** Of the process that runs now. */
  get drawn(): readonly string[] {
    return this.#running?.drawn ?? []
  }

  /** Starts it, or takes over `previous` if that lives, and waits until it serves. Throws StartFailed. */
  async start(previous?: ProcessRecord): Promise<void> {
    if (this.#loop !== null) return
    this.#wanted = new AbortController()
    this.#served = false
    const adopted = previous === undefined ? false : await this.#adopt(previous)
    const first = Promise.withResolvers<void>()
    // Looked at below; until then a rejection is nobody's.
    first.promise.catch(() => {})
    this.#loop = this.#keepUp(adopted, first).finally(() => {
      this.#loop = null
    })
    const watch = setInterval(() => void rotateLog(this.spec.logFile, MAX_LOG_BYTES).catch(() => {}), LOG_CHECK_MS)
    watch.unref()
    this.#wanted.signal.addEventListener('abort', () => clearInterval(watch), { once: true })
    await first.promise
  }

  /** Ends it for good: `stopSignal`, then SIGKILL after the grace. */
  async stop(signal: NodeJS.Signals = this.spec.stopSignal): Promise<'ended' | 'killed'> {
    this.#wanted.abort()
    const outcome = await this.#end(signal)
    await this.#loop
    return outcome
  }

  /** One signal and nothing else: what dies of it is started again. */
  kill(signal: NodeJS.Signals): void {
    if (this.#running !== null) sendSignal(this.#running.pid, signal)
  }

  /** SIGKILL, and it stays down until `start`. */
  async holdDown(): Promise<void> {
    this.#wanted.abort()
    this.kill('SIGKILL')
    await this.#running?.exited
    await this.#loop
  }

  async #adopt(previous: ProcessRecord): Promise<boolean> {
    if (!(await isAlive(this.#table, previous.pid, previous.startTime))) return false
    this.#running = {
      ...previous,
      since: performance.now(),
      exited: untilDead(this.#table, previous).then(() => 'ended'),
    }
    this.#hooks.onEvent(`${this.spec.name}: adopted, pid ${previous.pid}`)
    return true
  }

  async #keepUp(adopted: boolean, first: PromiseWithResolvers<void>): Promise<void> {
    const wanted = this.#wanted.signal
    let backoff = FIRST_BACKOFF_MS
    let fresh = !adopted
    for (let attempt = 1; !wanted.aborted; attempt++) {
      try {
        if (fresh) await this.#spawn()
        fresh = true
        const outcome = await this.#untilReady()
        if (outcome === 'ready') {
          this.#served = true
          first.resolve()
          await this.#untilExited()
        }
      } catch (error) {
        this.#hooks.onEvent(`${this.spec.name}: ${(error as Error).message}`)
      }
      const how = this.#running === null ? 'was not started' : await this.#running.exited
      const upMs = performance.now() - (this.#running?.since ?? performance.now())
      this.#running = null
      if (wanted.aborted) break
      if (!this.#served && (attempt >= FIRST_ATTEMPTS || !this.spec.restart)) {
        this.#wanted.abort()
        first.reject(await this.#failure(`${how} before it served`))
        return
      }
      if (!this.spec.restart) break
      if (upMs > STEADY_MS) backoff = FIRST_BACKOFF_MS
      this.#hooks.onExit?.(how)
      this.#hooks.onEvent(`${this.spec.name}: ${how}; started again in ${backoff} ms`)
      await sleep(backoff, undefined, { signal: wanted }).catch(() => {})
      backoff = Math.min(backoff * 2, LONGEST_BACKOFF_MS)
    }
    first.reject(await this.#failure('was stopped'))
  }

  async #spawn(): Promise<void> {
    const { spec } = this
    const drawn = await spec.draw?.()
    // Without a log it can do its work, without a process nobody can.
    const log = await openLog(spec.logFile).catch((error: Error) => {
      this.#hooks.onEvent(`${spec.name}: runs without a log: ${error.message}`)
      return null
    })
    const output = log?.fd ?? 'ignore'
    let child: ChildProcess
    try {
      child = spawn('/bin/sh', ['-c', GATE, `coppice-${spec.name}`, ...spec.command, ...(drawn ?? [])], {
        cwd: spec.cwd,
        env: spec.env,
        detached: true,
        stdio: ['pipe', output, output],
      })
    } finally {
      await log?.close()
    }
    const exited = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(`could not be started (${error.message})`))
      child.once('exit', (code, signal) => resolve(signal === null ? `ended with code ${code}` : `ended by ${signal}`))
    })
    // EPIPE, when it dies before it reads the line; `exited` tells.
    child.stdin?.on('error', () => {})
    if (child.pid === undefined) throw new Error(await exited)
    const row = await this.#table.row(child.pid)
    const startTime = row?.startTime ?? ''
    const record = { pid: child.pid, startTime, fingerprint: this.fingerprint, ...(drawn !== undefined && { drawn }) }
    this.#running = { ...record, since: performance.now(), exited }
    try {
      await this.#hooks.record(record)
      if (!this.#wanted.signal.aborted) child.stdin?.write('go\n')
    } finally {
      // Without the line it ends by itself.
      child.stdin?.end()
    }
  }

  async #untilReady(): Promise<'ready' | 'exited'> {
    const running = this.#running
    if (running === null) return 'exited'
    const enough = new AbortController()
    const signal = AbortSignal.any([enough.signal, this.#wanted.signal, AbortSignal.timeout(this.spec.readyTimeoutMs)])
    try {
      return await Promise.race([
        this.spec.ready(signal, running.pid).then(() => 'ready' as const),
        running.exited.then(() => 'exited' as const),
      ])
    } catch (error) {
      if (this.#wanted.signal.aborted) return 'exited'
      if (!signal.aborted) throw error
      // Alive and not serving: another attempt may do better, as a crash would have got.
      this.#hooks.onEvent(`${this.spec.name}: did not serve within ${this.spec.readyTimeoutMs / 1000} s`)
      await this.#end('SIGKILL')
      return 'exited'
    } finally {
      enough.abort()
    }
  }

  /** Killed for not answering, it is started again like one that died. */
  async #untilExited(): Promise<void> {
    const running = this.#running
    const { answers, name, askEveryMs = ASK_EVERY_MS } = this.spec
    if (running === null) return
    const exited = new AbortController()
    const over = AbortSignal.any([exited.signal, this.#wanted.signal])
    const ask = async (): Promise<void> => {
      if (answers === undefined) return
      for (let vain = 0; vain < ASKED_IN_VAIN; ) {
        await sleep(askEveryMs, undefined, { signal: over })
        const late = new AbortController()
        const timer = setTimeout(() => late.abort(), askEveryMs / 2)
        const yes = await answers(AbortSignal.any([over, late.signal]), running.pid).catch(() => false)
        clearTimeout(timer)
        over.throwIfAborted()
        vain = yes ? 0 : vain + 1
      }
      this.#hooks.onEvent(`${name}: runs, and gave no sign of life ${ASKED_IN_VAIN} times; killed`)
      sendSignal(running.pid, 'SIGKILL')
    }
    // It ends by the signal when the process is gone or shall go.
    ask().catch((error: unknown) => {
      if (!over.aborted) this.#hooks.onEvent(`${name}: ${(error as Error).message}`)
    })
    await running.exited
    exited.abort()
    // What it started and did not detach, and what is stopped cannot know that it is over: the port that it still holds
    // would keep the next one from starting.
    sendSignal(-running.pid, 'SIGKILL')
  }

  async #end(signal: NodeJS.Signals): Promise<'ended' | 'killed'> {
    if (this.#running === null) return 'ended'
    const outcome = await endProcess(this.#running.pid, this.#running.exited, signal, this.spec.stopGraceMs)
    await this.#hooks.record(null)
    return outcome
  }

  async #failure(why: string): Promise<StartFailed> {
    const lines = await lastLines(this.spec.logFile, FAILURE_LINES)
    // Each attempt has said the same.
    return new StartFailed(this.spec.name, why, this.spec.logFile, [...new Set(lines.map(readable))])
  }
}

/** Of a structured log line what a person wants to read of it. */
function readable(line: string): string {
  try {
    const { msg, err } = JSON.parse(line) as { msg?: string; err?: { stack?: string } }
    return [msg, err?.stack].filter((text) => text !== undefined).join(': ') || line
  } catch {
    return line
  }
}

/** Ends a process that another starter left, if it still is that process. */
export async function endRecorded(
  record: Pick<ProcessRecord, 'pid' | 'startTime'>,
  spec: { stopSignal: NodeJS.Signals; stopGraceMs: number },
  table: ProcessTable = systemProcessTable(),
): Promise<void> {
  if (!(await isAlive(table, record.pid, record.startTime))) return
  await endProcess(record.pid, untilDead(table, record), spec.stopSignal, spec.stopGraceMs)
}

async function endProcess(
  pid: number,
  exited: Promise<unknown>,
  signal: NodeJS.Signals,
  graceMs: number,
): Promise<'ended' | 'killed'> {
  sendSignal(pid, signal)
  // A stopped process (Ctrl-Z) takes no other signal than SIGKILL until it goes on.
  sendSignal(pid, 'SIGCONT')
  const late = new AbortController()
  const timeout = sleep(graceMs, 'late' as const, { signal: late.signal }).catch(() => 'late' as const)
  const outcome = await Promise.race([exited, timeout])
  late.abort()
  if (outcome !== 'late') return 'ended'
  // Its group: what it started and did not detach goes with it. A starter has the group of the shell that started it.
  sendSignal(-pid, 'SIGKILL')
  sendSignal(pid, 'SIGKILL')
  await exited
  return 'killed'
}

async function untilDead(table: ProcessTable, record: { pid: number; startTime: string }): Promise<void> {
  while (await isAlive(table, record.pid, record.startTime)) await sleep(100)
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
