import cluster from 'node:cluster'
import { fileURLToPath } from 'node:url'
import pino from 'pino'
import { CoppiceError, withHint } from '../domain/errors.ts'
import type { FromWorker, ToWorker } from './messages.ts'
import { type RouterOptions, resolveOptions } from './options.ts'
import { Primary } from './primary.ts'
import { runWorker } from './worker.ts'

/** The router process. Started by a supervisor it is the primary; started by that, with its options in the environment, it carries traffic. */
const fromPrimary = process.env.COPPICE_ROUTER_WORKER
if (cluster.isWorker && fromPrimary !== undefined) startWorker(JSON.parse(fromPrimary))
else await startPrimary()

function startWorker(options: RouterOptions): void {
  const log = pino({ base: { part: 'router', router: options.name, pid: process.pid } })
  // Ctrl-C reaches the whole group; it is the primary that tells when to stop.
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => undefined)
  process.on('disconnect', () => process.exit(1))
  runWorker(
    options,
    {
      send: (message: FromWorker) => {
        if (process.connected) process.send?.(message)
      },
      onMessage: (listener: (message: ToWorker) => void) => process.on('message', listener),
    },
    log,
    (code) => process.exit(code),
  )
}

async function startPrimary(): Promise<void> {
  const log = pino({ base: { part: 'router', pid: process.pid } })
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
    process.on('SIGHUP', () => void primary.replaceProcesses())
    await primary.start()
  } catch (error) {
    const known = error instanceof CoppiceError
    log.fatal(
      known ? withHint(error.code, error.message) : { err: error },
      known ? undefined : 'the router cannot start',
    )
    process.exitCode = 2
    process.exit()
  }
}
