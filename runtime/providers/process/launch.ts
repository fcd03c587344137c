import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openLog } from '../../log-file.ts'
import { startFailure } from '../../start-failure.ts'
import { FALLBACK_PATH } from './app-environment.ts'

/**
 * The two-phase spawn (DESIGN D11). The child is a shell that runs what comes through a pipe: the environment of the app,
 * then `go`. That is sent once its pid and start time are on the disk. A starter that dies before closes the pipe, and the
 * child ends without having run anything of the app; one that dies after has left a record of what runs. There is no
 * moment in between.
 *
 * The environment comes that way because it is the app's: until the gate is passed nothing may load its libraries or look
 * through its PATH, least of all `setpriv` with the capabilities that it takes away. And arguments can be read by
 * everybody on the machine, a pipe cannot.
 */
function gate(environment: Readonly<Record<string, string>>): string {
  // `command`, and without a word: bash refuses names that are its own (UID), which are no reason not to start.
  const lines = Object.entries(environment).map(
    ([name, value]) => `command export ${name}='${value.replaceAll("'", `'\\''`)}' 2>/dev/null\n`,
  )
  // A function, because the line that is read when a starter dies in the middle of it must not be whole without its end.
  return `go() { exec "$@" </dev/null; }\n${lines.join('')}go "$@"\n`
}

export type LaunchOptions = {
  command: string[]
  /** Put before the gate, so that what it takes away is gone before the app begins. */
  prefix: string[]
  /** Of the app, all of it. */
  environment: Record<string, string>
  /** By which the processes are found, from the first moment on; nothing else is set before the gate. */
  marks: Record<string, string>
  workingDirectory: string
  logPath: string
  /** Writes down who was spawned; the child goes on once this is fulfilled, and is ended when it is rejected. */
  record(pid: number): Promise<void>
}

/** Throws Unavailable when the machine has no room for another process. */
export async function launch(options: LaunchOptions): Promise<ChildProcess> {
  const [file = '', ...args] = [...options.prefix, '/bin/sh', '-s', '--', ...options.command]
  const log = await openLog(options.logPath)
  let child: ChildProcess
  try {
    child = spawn(file, args, {
      cwd: options.workingDirectory,
      env: { ...options.marks, PATH: FALLBACK_PATH },
      // A session and process group of its own: no signal meant for the worker reaches it, one kill ends the group.
      detached: true,
      stdio: ['pipe', log.fd, log.fd],
    })
    await once(child, 'spawn').catch((error: NodeJS.ErrnoException) => {
      throw startFailure(error)
    })
  } finally {
    await log.close()
  }
  // The child may be gone before it reads (EPIPE); how it ended is seen elsewhere.
  child.stdin?.on('error', () => undefined)
  child.unref()
  try {
    await options.record(child.pid as number)
  } catch (error) {
    child.stdin?.destroy()
    child.kill('SIGKILL')
    throw error
  }
  child.stdin?.end(gate(options.environment))
  return child
}
