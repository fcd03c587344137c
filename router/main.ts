import cluster from 'node:cluster'
import { enableCompileCache, flushCompileCache } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CoppiceError, withHint } from '../domain/errors.ts'
import { createLogger, logOutput } from '../logging/logger.ts'
import { readyFile } from '../logging/ready-file.ts'
import { closeDeadHandles } from './cluster-handles.ts'
import type { FromWorker, ToWorker } from './messages.ts'
import { type RouterOptions, resolveOptions } from './options.ts'

/** Node itself keeps it only when a process ends well, which is not when a router has to be back quickly. */
const FLUSH_AFTER_MS = 500

/**
 * The router process. Started by a supervisor it is the primary; started by that, with its options in the
 * environment, it carries traffic. Each loads only what it needs: it has to be back in under a second (R12.3).
 */
const fromPrimary = process.env.COPPICE_ROUTER_WORKER
if (cluster.isWorker && fromPrimary !== undefined) await startWorker(JSON.parse(fromPrimary))
else if (process.argv.slice(2).includes('--help')) await showUsage()
else await startPrimary()

async function showUsage(): Promise<void> {
  const { usage } = await import('./usage.ts')
  process.stdout.write(`${usage()}\n`)
}

async function startWorker(options: RouterOptions): Promise<void> {
  // The first table may come while the program is still loading.
  const early: ToWorker[] = []
  const keep = (message: ToWorker) => early.push(message)
  process.on('message', keep)
  // Ctrl-C reaches the whole group; it is the primary that tells when to stop.
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => undefined)
  // So does what means all processes of a name; it is the primary that replaces them one by one.
  process.on('SIGHUP', () => undefined)
  process.on('disconnect', () => process.exit(1))
  closeDeadHandles()
  const { runWorker } = await import('./worker.ts')
  const base = { part: 'router', router: options.name, pid: process.pid }
  const output = logOutput(base)
  runWorker(
    options,
    {
      send: (message: FromWorker) => {
        if (process.connected) process.send?.(message)
      },
      onMessage: (listener: (message: ToWorker) => void) => {
        process.off('message', keep)
        process.on('message', listener)
        for (const message of early) listener(message)
      },
    },
    { log: createLogger({ base }, output), lines: output },
    (code) => process.exit(code),
  )
  setTimeout(flushCompileCache, FLUSH_AFTER_MS)
}

async function startPrimary(): Promise<void> {
  // One that comes before there is anything to replace is done with: what starts now is new.
  let replace = (): void => undefined
  process.on('SIGHUP', () => replace())
  const log = createLogger({ base: { part: 'router', pid: process.pid } })
  try {
    const options = resolveOptions(process.argv.slice(2), process.env)
    // The processes accept for themselves, from one shared socket: what a process that dies had not accepted yet goes
    // to another. Handed out by the primary (round robin), connections on their way to it would hang for ever.
    cluster.schedulingPolicy = cluster.SCHED_NONE
    cluster.setupPrimary({
      exec: fileURLToPath(import.meta.url),
      args: [],
      execArgv: [...process.execArgv, '--expose-gc'],
    })
    rememberCode(options)
    const { Primary } = await import('./primary.ts')
    const primary = new Primary(options, log, (message) => {
      log.fatal(message)
      process.exit(3)
    })
    const stop = async (signal: string) => {
      log.info({ signal }, 'stops')
      await primary.stop()
      process.exit(0)
    }
    process.on('SIGTERM', stop)
    process.on('SIGINT', stop)
    replace = () => void primary.replaceProcesses()
    await primary.start()
    readyFile(process.env.COPPICE_READY_FILE).sayReady()
    setTimeout(flushCompileCache, FLUSH_AFTER_MS)
  } catch (error) {
    const known = error instanceof CoppiceError
    log.fatal(
      known ? withHint(error.code, error.message) : { err: error },
      known ? undefined : 'the router cannot start',
    )
    process.exit(2)
  }
}

/** Compiled code is kept beside the table and halves the time of a start; the processes find it by the environment. */
function rememberCode(options: RouterOptions): void {
  if (options.stateDir === null) return
  const dir = join(options.stateDir, 'compiled')
  enableCompileCache(dir)
  process.env.NODE_COMPILE_CACHE = dir
}
