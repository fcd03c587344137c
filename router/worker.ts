import { randomFillSync, randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import type { LineOutput } from '../logging/line-output.ts'
import { AccessLog } from './access-log.ts'
import { Bulk, minorCollector } from './bulk.ts'
import { Certificates, certificateContext } from './certificates.ts'
import { DrainDeadlines } from './drain.ts'
import type { Endpoint } from './endpoint.ts'
import { createListener } from './listener.ts'
import type { Beat, FromWorker, ToWorker } from './messages.ts'
import { Metrics } from './metrics.ts'
import type { RouterOptions } from './options.ts'
import { pipeline } from './pipeline.ts'
import { Ports } from './ports.ts'
import { RebalanceNotes } from './rebalance-count.ts'
import { Routes } from './routes.ts'
import { Sessions } from './sessions.ts'
import { maxDescriptors, TurnedAway } from './turned-away.ts'
import { WaitingRoom } from './waiting-room.ts'

const BEAT_MS = 250

/** How a process that carries traffic talks with its primary. */
export type Channel = {
  send(message: FromWorker): void
  onMessage(listener: (message: ToWorker) => void): void
}

/** A process that carries traffic. It gets its first table before it listens. */
export function runWorker(
  options: RouterOptions,
  channel: Channel,
  { log, lines }: { log: Logger; lines: LineOutput },
  exit: (code: number) => void,
): void {
  const metrics = new Metrics()
  const sessions = new Sessions()
  const rebalances = new RebalanceNotes()
  const room = new WaitingRoom(options.limits.maxWaiting)
  const drains = new DrainDeadlines(options.timeouts.drainSpreadMs)
  const random = randomWords()
  let stopping = false

  const routes = new Routes(options.timeouts, metrics, {
    onChange: () => room.wake(),
    onIdle: () => channel.send({ type: 'beat', beat: beat(false) }),
    onSpeaks: () => channel.send({ type: 'beat', beat: beat(false) }),
    onDraining: (endpoint, timeoutMs) => drains.add(endpoint, timeoutMs),
  })
  const accessLog = new AccessLog(options.accessLog, lines, Math.random)
  const chain = pipeline({
    options,
    routes,
    metrics,
    sessions,
    room,
    random,
    bulk: new Bulk(minorCollector()),
    rebalances,
    log: accessLog,
    suspect: (endpoint: Endpoint) => {
      if (endpoint.worthTelling(performance.now())) channel.send({ type: 'suspect', instance: endpoint.instance })
    },
    defect: (error) => log.error(error, 'a request failed by a defect of the router'),
    stopping: () => stopping,
  })
  const host = 'host' in options.listen ? options.listen.host : '127.0.0.1'
  const certificates =
    options.tls === null || !('cert' in options.tls)
      ? null
      : new Certificates(
          options.tls,
          (context) => {
            tls = context
            ports.useCertificate(context)
          },
          (message) => problem('certificate', message),
        )
  const unkept = options.tls !== null && 'pem' in options.tls ? certificateContext(options.tls.pem) : null
  let tls = certificates?.load() ?? unkept
  certificates?.watch()
  const turnedAway = new TurnedAway(maxDescriptors(), options.limits.maxConnections, metrics, log)
  const create = () =>
    createListener({ options, metrics, tls, pipeline: chain, requestId: () => randomUUID(), turnedAway })
  const portFailed = (port: number, reason: string) => channel.send({ type: 'portFailed', port, reason })
  const ports = new Ports(create, host, portFailed, leaveSoon)

  /** The primary starts another one; what is said leaves first. */
  function leaveSoon(): void {
    setTimeout(() => exit(1), 50)
  }

  function problem(key: string, message: string | null): void {
    channel.send({ type: 'problem', key, message })
  }

  let lastBeatAt = 0
  function beat(withMetrics: boolean): Beat {
    const inFlight: Record<string, number> = {}
    const longLived: Record<string, number> = {}
    const silentMs: Record<string, number> = {}
    const heard: string[] = []
    const failing: string[] = []
    const now = performance.now()
    // This process itself did not run: what came in the meantime has to be read before anybody is called silent.
    const late = now - lastBeatAt > 3 * BEAT_MS
    for (const endpoint of routes.all()) {
      if (endpoint.inFlight > 0) inFlight[endpoint.instance] = (inFlight[endpoint.instance] ?? 0) + endpoint.inFlight
      const lasting = endpoint.longLived.size
      if (lasting > 0) longLived[endpoint.instance] = (longLived[endpoint.instance] ?? 0) + lasting
      if (endpoint.heardAt > lastBeatAt) heard.push(endpoint.instance)
      if (endpoint.failedAt > lastBeatAt) failing.push(endpoint.instance)
      const silent = endpoint.silentMs(now)
      if (silent >= options.checks.quietMs && !late) silentMs[endpoint.instance] = silent
    }
    lastBeatAt = now
    metrics.waiting = room.size
    return {
      inFlight,
      longLived,
      heard,
      failing,
      silentMs,
      moved: rebalances.take(),
      metrics: withMetrics ? metrics.snapshot() : undefined,
    }
  }

  let beats = 0
  const heart = setInterval(() => {
    const fourth = ++beats % 4 === 0
    if (fourth) turnedAway.tell()
    channel.send({ type: 'beat', beat: beat(fourth) })
  }, BEAT_MS)

  let listening: Promise<void> | null = null
  const listen = async () => {
    try {
      channel.send({ type: 'listening', port: await ports.listen(options.listen) })
    } catch (error) {
      const where =
        'host' in options.listen ? `${options.listen.host}:${options.listen.port}` : `fd ${options.listen.fd}`
      const message = `cannot listen on ${where}: ${(error as Error).message}`
      problem('listen', `${message}; choose another with --listen or COPPICE_ROUTER_LISTEN`)
      leaveSoon()
      await new Promise(() => undefined)
    }
  }

  // One after the other, each to the end, so that what is acknowledged is in force.
  let turn = Promise.resolve()
  const apply = async (message: Extract<ToWorker, { type: 'table' }>) => {
    routes.apply(message.table)
    listening ??= listen()
    await listening
    if (!stopping) await ports.set(message.ports)
    const { inventory, version } = routes
    channel.send({ type: 'applied', inventory, version, ports: ports.opened, beat: beat(false) })
  }

  const stop = (graceMs: number) => {
    if (stopping) return
    stopping = true
    drains.leaveAll([...routes.all()], Math.min(graceMs, options.timeouts.drainSpreadMs))
    const deadline = performance.now() + graceMs
    const check = setInterval(() => {
      ports.closeAll()
      const busy = metrics.connections > 0
      if (busy && performance.now() < deadline) return
      clearInterval(check)
      clearInterval(heart)
      channel.send({ type: 'beat', beat: beat(true) })
      accessLog.flush()
      // The last beat and the last log lines leave first.
      setTimeout(() => exit(0), 20)
    }, 20)
  }

  channel.onMessage((message) => {
    switch (message.type) {
      case 'table':
        turn = turn
          .then(() => apply(message))
          .catch((error: Error) => {
            log.error(error, 'a table could not be applied')
            channel.send({ type: 'refused', version: message.table.version, reason: error.message })
          })
        break
      case 'hold':
        turn = turn.then(() => {
          routes.hold(message.apps)
          channel.send({ type: 'holding', hold: message.hold })
        })
        break
      case 'health':
        routes.applyHealth(message.health)
        break
      case 'keep':
        routes.keep(message.instances)
        break
      case 'sessions':
        channel.send({ type: 'sessions', ask: message.ask, sample: sessions.sample((Date.now() / 60_000) | 0) })
        break
      case 'stop':
        stop(message.graceMs)
        break
    }
  })
  channel.send({ type: 'ready' })
}

/** Cryptographic random words, drawn from the system a page at a time. */
function randomWords(): () => number {
  const page = new Uint32Array(1024)
  let next = page.length
  return () => {
    if (next === page.length) {
      randomFillSync(page)
      next = 0
    }
    return page[next++] as number
  }
}
