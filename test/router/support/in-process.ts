import { connect, type Socket } from 'node:net'
import type { RouteTable } from '../../../domain/route-table.ts'
import { ALL_WELL, type Health } from '../../../router/health.ts'
import type { Beat, FromWorker, ToWorker } from '../../../router/messages.ts'
import { resolveOptions } from '../../../router/options.ts'
import { runWorker } from '../../../router/worker.ts'
import { until } from './router-process.ts'

/** A process of the router that carries traffic, inside the test, which is its primary: nobody asks instances, and no health changes by itself. */
export type InProcess = {
  port: number
  /** All that it told, oldest first. */
  told: FromWorker[]
  /** The lines of its access log. */
  log: { status: number; path: string; clientGone: boolean; instance: string | null; attempts: number }[]
  setRoutes(table: RouteTable): Promise<void>
  setHealth(change: Partial<Health>): void
  /** Tells who is silent past the app's limit, whether ejected or not. */
  keep(instances: string[]): void
  beat(): Beat
  /** As it was at most a second ago. */
  gauge(name: string): number | undefined
  /** Begins to stop; `ended` when it has. */
  stop(graceMs?: number): void
  ended: Promise<void>
}

export async function startInProcess(first: RouteTable, args: string[] = []): Promise<InProcess> {
  const options = resolveOptions(['--routes', 'none', '--listen', '127.0.0.1:0', '--access-log', 'on', ...args], {})
  let tell = (_: ToWorker): void => undefined
  let end = (): void => undefined
  const beats = () => router.told.flatMap((one) => (one.type === 'beat' ? [one.beat] : []))
  const router: InProcess = {
    port: 0,
    told: [],
    log: [],
    setRoutes: async (table) => {
      const isTable = (one: FromWorker) => one.type === 'applied' && one.version === table.version
      tell({ type: 'table', table, ports: [] })
      await until(() => router.told.some(isTable))
    },
    setHealth: (change) => tell({ type: 'health', health: { ...ALL_WELL, ...change } }),
    keep: (instances) => tell({ type: 'keep', instances }),
    beat: () => beats().at(-1) as Beat,
    gauge: (name) => beats().findLast((one) => one.metrics !== undefined)?.metrics?.gauges[name],
    stop: (graceMs = 0) => tell({ type: 'stop', graceMs }),
    ended: new Promise((resolve) => {
      end = resolve
    }),
  }
  const send = (message: FromWorker) => {
    router.told.push(message)
    if (message.type === 'listening') router.port = message.port
  }
  const onMessage = (listener: typeof tell) => {
    tell = listener
  }
  const write = (lines: string) => {
    for (const line of lines.trim().split('\n')) router.log.push(JSON.parse(line))
  }
  const log = { info: () => undefined, warn: () => undefined, error: console.error, fatal: console.error }
  runWorker(options, { send, onMessage }, { log: log as never, lines: { write } as never }, () => end())
  await router.setRoutes(first)
  return router
}

/** A client that sends bytes, and reads what comes when the test says so. */
export function client(router: Pick<InProcess, 'port'>, bytes: string): Socket {
  const socket = connect(router.port, '127.0.0.1')
  socket.on('error', () => undefined)
  socket.pause()
  socket.write(bytes, 'latin1')
  return socket
}
