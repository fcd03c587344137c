import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { CoppiceError } from '../../../domain/errors.ts'
import { openLog } from '../../log-file.ts'

/**
 * The two-phase spawn (DESIGN D11). The child waits for one line; the line is sent once its pid and start time are
 * on the disk. A starter that dies before closes the pipe, and the child ends without having run anything of the
 * app; one that dies after has left a record of what runs. There is no moment in between.
 */
const GATE = 'read -r go || exit 97; exec "$@" </dev/null'

export type LaunchOptions = {
  command: string[]
  /** Put before the gate, so that what it takes away is gone before the app begins. */
  prefix: string[]
  environment: Record<string, string>
  workingDirectory: string
  logPath: string
  /** Writes down who was spawned; the child goes on once this is fulfilled, and is ended when it is rejected. */
  record(pid: number): Promise<void>
}

/** Throws Unavailable when the machine has no room for another process. */
export async function launch(options: LaunchOptions): Promise<ChildProcess> {
  const [file = '', ...args] = [...options.prefix, '/bin/sh', '-c', GATE, 'coppice', ...options.command]
  const log = await openLog(options.logPath)
  let child: ChildProcess
  try {
    child = spawn(file, args, {
      cwd: options.workingDirectory,
      env: options.environment,
      // A session and process group of its own: no signal meant for the worker reaches it, one kill ends the group.
      detached: true,
      stdio: ['pipe', log.fd, log.fd],
    })
    await once(child, 'spawn').catch((error: NodeJS.ErrnoException) => {
      const code = ['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE'].includes(error.code ?? '') ? 'Unavailable' : 'Internal'
      throw new CoppiceError(code, `could not start a process: ${error.message}`, {}, { cause: error })
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
  child.stdin?.end('go\n')
  return child
}
