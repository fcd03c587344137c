import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError } from '../../domain/errors.ts'
import { systemClock } from '../clock.ts'
import { saysDiskFull } from '../disk.ts'
import { HOME_VARIABLE } from '../providers/process/app-environment.ts'
import { controlGroup } from '../providers/process/control-group.ts'
import { endFamily, type FamilyOptions, stillThere } from '../providers/process/family.ts'
import { systemProcessTable } from '../providers/process/process-table.ts'
import { startFailure } from '../start-failure.ts'
import { plainLine } from './plain-line.ts'

/** Like `child_process.spawn`. */
export type Spawn = (program: string, args: readonly string[], options: SpawnOptions) => ChildProcess

export type CommandOptions = {
  cwd: string
  /** The whole environment; what is undefined is left out. */
  env: Record<string, string | undefined>
  signal: AbortSignal
  /** Gets each line of output, without colours. */
  log: (line: string) => void
  /** Makes a line fit for people; null leaves it out. */
  edit?: (line: string) => string | null
  /** How the command is called in messages, e.g. `npm ci`. */
  name: string
  spawn: Spawn
  box: Box
}

/** What a command is kept in. */
export type Box = {
  /** Put before the command; takes from it what root has over others. */
  prefix: string[]
  /** Id of the data directory. */
  homeId: string
  /** Nothing else works in it: whoever does was started by the build. A real path, or null. */
  folder: string | null
}

/** Marks what a build started, with the id of the command. */
export const BUILD_VARIABLE = 'COPPICE_BUILD_ID'

/** Lines kept for the message of a failure. */
export const LAST_LINES = 20
/** A line may be a whole minified file. */
const MAX_LINE_CHARS = 2000
/** Answers are a line or two; what is longer is none. */
const MAX_ANSWER_CHARS = 64 * 1024

/** Apart from those of instances, whose names are ids of instances. */
export const buildGroup = (homeId: string, id: string) => controlGroup(`${homeId}-builds`, id)

/** How long after the end of a command its last output may take, once nothing is left that could write more, in ms. */
const LAST_OUTPUT_MS = 1_000

/**
 * A build must not outlive the worker that wants it, not even one that was ended with SIGKILL: a second process in the
 * group waits on a pipe that only the worker holds open, and ends the group when it closes. The command begins when a
 * line has come through it: by then it is where all that it starts can be found.
 */
const DIES_WITH_ITS_PARENT =
  'read -r _ <&3 || exit 97; { read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 & exec "$@" 3<&-'

/**
 * Runs a program in a process group of its own. It has ended when its process has, whoever still holds its pipes; then, or
 * when the signal is aborted, all that it started is ended. Throws BuildFailed with the last lines, DiskFull where they
 * say so, Unavailable where no process can be started, or the reason of the signal. However much it prints, no more of it
 * than a line is kept here.
 */
export function runCommand(argv: readonly string[], options: CommandOptions): Promise<void> {
  return execute(argv, options, () => undefined)
}

/** The same, for a program that is asked something: returns its standard output, which has a limit. */
export async function askCommand(argv: readonly string[], options: CommandOptions): Promise<string> {
  const tooMuch = new AbortController()
  let answer = ''
  const onText = (text: string) => {
    if (answer.length + text.length <= MAX_ANSWER_CHARS) answer += text
    else
      tooMuch.abort(new CoppiceError('BuildFailed', `${options.name} does not stop answering`, { step: options.name }))
  }
  await execute(argv, { ...options, signal: AbortSignal.any([options.signal, tooMuch.signal]) }, onText)
  return answer
}

async function execute(
  argv: readonly string[],
  options: CommandOptions,
  onText: (text: string) => void,
): Promise<void> {
  const { box, signal } = options
  signal.throwIfAborted()
  const id = `build-${randomUUID().slice(0, 13)}`
  const mark = { [BUILD_VARIABLE]: id, [HOME_VARIABLE]: box.homeId }
  const group = buildGroup(box.homeId, id)
  const [file = '', ...args] = [...box.prefix, '/bin/sh', '-c', DIES_WITH_ITS_PARENT, 'build', ...argv]
  const child = options.spawn(file, args, {
    cwd: options.cwd,
    env: { ...options.env, ...mark },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const ended = exited(child)
  // Before anybody waits for it too: without a listener the event ends the worker.
  ended.catch(() => undefined)
  const family: FamilyOptions = {
    table: systemProcessTable(),
    mark,
    folder: box.folder,
    controlGroup: group,
    leader: null,
  }
  const killGroup = () => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // ESRCH: nothing of it is left.
    }
  }
  const lines: string[] = []
  const onLine = (raw: string) => {
    const line = options.edit === undefined ? raw : options.edit(raw)
    if (line === null) return
    lines.push(line)
    if (lines.length > LAST_LINES) lines.shift()
    options.log(line)
  }
  readLines(child.stdout, onLine, onText)
  readLines(child.stderr, onLine, () => undefined)
  const closed = new Promise((resolve) => child.once('close', resolve))
  const endAll = async () => {
    killGroup()
    const left = await endFamily({ ...family, graceMs: 0, clock: systemClock })
    if (left.length > 0) options.log(stillThere(left))
  }
  // Who cancels does not wait for the end of the command: it may not end on SIGKILL.
  const aborted = new Promise<'aborted'>((resolve) =>
    signal.addEventListener('abort', () => resolve('aborted'), { once: true }),
  )
  try {
    const gate = child.stdio?.[3] as Writable | null | undefined
    // The child going first is no error.
    gate?.on('error', () => undefined)
    if (child.pid !== undefined) group?.take(child.pid)
    gate?.write('go\n')
    const end = await Promise.race([ended, aborted])
    await endAll()
    if (end === 'aborted') throw signal.reason
    await Promise.race([closed, sleep(LAST_OUTPUT_MS, undefined, { ref: false })])
    signal.throwIfAborted()
    const { code, signal: endedBy } = end
    if (code === 0) return
    const how = endedBy === null ? `ended with exit code ${code}` : `was ended by ${endedBy}`
    if (saysDiskFull(lines))
      throw new CoppiceError('DiskFull', `${options.name}: the disk is full`, { logLines: lines })
    throw new CoppiceError('BuildFailed', `${options.name} ${how}`, { step: options.name, logLines: lines })
  } finally {
    for (const stream of child.stdio ?? []) stream?.destroy()
    await group?.remove()
  }
}

/** Throws Unavailable when the machine has no room for another process. */
function exited(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(startFailure(error)))
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })
}

/**
 * Reads a piece, lets everything else have its turn, and reads on. A program that prints faster than lines can be handled
 * is held up by its pipe that way, and holds up nobody itself.
 */
function readLines(
  stream: Readable | null | undefined,
  onLine: (line: string) => void,
  onText: (text: string) => void,
): void {
  let rest = ''
  stream?.setEncoding('utf8')
  stream?.on('data', (text: string) => {
    stream.pause()
    setImmediate(() => stream.resume())
    onText(text)
    const parts = (rest + text).split('\n')
    rest = (parts.pop() ?? '').slice(-MAX_LINE_CHARS)
    for (const part of parts) emit(part, onLine)
  })
  stream?.on('end', () => {
    if (rest !== '') emit(rest, onLine)
  })
}

function emit(raw: string, onLine: (line: string) => void): void {
  const line = plainLine(raw)
  if (line !== '') onLine(line.slice(0, MAX_LINE_CHARS))
}
