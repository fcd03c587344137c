import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { stripVTControlCharacters } from 'node:util'
import { CoppiceError } from '../../domain/errors.ts'
import { saysDiskFull } from '../disk.ts'

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
}

/** Lines kept for the message of a failure. */
const LAST_LINES = 20
/** A line may be a whole minified file. */
const MAX_LINE_CHARS = 2000

/**
 * A build must not outlive the worker that wants it, not even one that was ended with SIGKILL: a second process in the
 * group waits on a pipe that only the worker holds open, and ends the group when it closes.
 */
const DIES_WITH_ITS_PARENT = '{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 & exec "$@" 3<&-'

/**
 * Runs a program in a process group of its own and returns its standard output. When it ends, by itself or because the
 * signal was aborted, nothing of the group is left. Throws BuildFailed with the last lines, DiskFull where they say so,
 * or the reason of the signal.
 */
export async function runCommand(argv: readonly string[], options: CommandOptions): Promise<string> {
  options.signal.throwIfAborted()
  const child = options.spawn('/bin/sh', ['-c', DIES_WITH_ITS_PARENT, 'build', ...argv], {
    cwd: options.cwd,
    env: options.env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const killGroup = () => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // ESRCH: nothing of it is left.
    }
  }
  const lines: string[] = []
  const output: string[] = []
  const onLine = (raw: string) => {
    const line = options.edit === undefined ? raw : options.edit(raw)
    if (line === null) return
    lines.push(line)
    if (lines.length > LAST_LINES) lines.shift()
    options.log(line)
  }
  // The write end of the pipe; the child going first is no error.
  child.stdio[3]?.on('error', () => undefined)
  readLines(child.stdout, onLine, (text) => output.push(text))
  readLines(child.stderr, onLine)
  child.once('exit', killGroup)
  options.signal.addEventListener('abort', killGroup)
  try {
    const { code, signal } = await closed(child)
    options.signal.throwIfAborted()
    if (code === 0) return output.join('')
    const how = signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`
    if (saysDiskFull(lines))
      throw new CoppiceError('DiskFull', `${options.name}: the disk is full`, { logLines: lines })
    throw new CoppiceError('BuildFailed', `${options.name} ${how}`, { step: options.name, logLines: lines })
  } finally {
    options.signal.removeEventListener('abort', killGroup)
    child.stdio[3]?.destroy()
  }
}

function closed(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal }))
  })
}

function readLines(
  stream: NodeJS.ReadableStream | null,
  onLine: (line: string) => void,
  onText: (text: string) => void = () => undefined,
): void {
  let rest = ''
  stream?.setEncoding('utf8')
  stream?.on('data', (text: string) => {
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
  // A progress bar rewrites its line with CR; only its last state is worth a line.
  const line = stripVTControlCharacters(raw.replace(/\r+$/, '').replace(/^.*\r/, '')).trimEnd()
  if (line !== '') onLine(line.slice(0, MAX_LINE_CHARS))
}
