import { hostAndPort } from '../../domain/address.ts'
import type { Timeouts } from '../options.ts'
import { Connection, type ConnectionOwner } from './connection.ts'
import type { UpstreamHandler, UpstreamRequest } from './upstream.ts'

/** Idle time after which a connection is not used any more, where the instance says nothing about it (D10). */
const IDLE_MS = 1500
const SWEEP_MS = 250

/** The connections of one process to one instance, each for one request at a time. */
export class Connections implements ConnectionOwner {
  /** Used last, taken first: so the others grow old and are closed. */
  private readonly idle: Connection[] = []
  private readonly all = new Set<Connection>()
  private sweeper: NodeJS.Timeout | null = null
  private sweptAt = 0
  private closed = false
  private readonly host: string
  private readonly port: number
  private readonly timeouts: Pick<Timeouts, 'connectMs' | 'firstByteMs'>

  /** @param address `host:port`, IPv6 hosts in brackets */
  constructor(address: string, timeouts: Pick<Timeouts, 'connectMs' | 'firstByteMs'>) {
    const { host, port } = hostAndPort(address)
    this.host = host
    this.port = port
    this.timeouts = timeouts
  }

  /**
   * @param repeatable it may be lost on a connection that the instance has just closed, because it can be sent again.
   *   What cannot has a connection of its own, which ends with it (D10). An instance that is blocked for longer than its
   *   patience with idle connections closes them when it goes on, whatever lies in them unread; however short a
   *   connection was idle, a POST was lost on it.
   */
  send(request: UpstreamRequest, repeatable: boolean, handler: UpstreamHandler): void {
    // A connection that carries an upgrade comes back in no case.
    const connection = (repeatable && !request.upgrade ? this.take() : null) ?? this.open()
    connection.once = !repeatable
    connection.send(request, handler)
  }

  private take(): Connection | null {
    const connection = this.idle.at(-1)
    if (connection === undefined) return null
    const idleMs = performance.now() - connection.idleSince
    // The others have been idle for longer.
    if (idleMs > connection.idleLimitMs) return null
    this.idle.pop()
    return connection
  }

  private open(): Connection {
    const connection = new Connection(this.host, this.port, IDLE_MS, this)
    this.all.add(connection)
    if (this.sweeper === null) {
      this.sweptAt = performance.now()
      this.sweeper = setInterval(() => this.sweep(), SWEEP_MS).unref()
    }
    return connection
  }

  onIdle(connection: Connection): void {
    if (this.closed || connection.once) connection.abort()
    else this.idle.push(connection)
  }

  onGone(connection: Connection): void {
    this.all.delete(connection)
    const i = this.idle.lastIndexOf(connection)
    if (i !== -1) this.idle.splice(i, 1)
    if (this.all.size === 0 && this.sweeper !== null) {
      clearInterval(this.sweeper)
      this.sweeper = null
    }
  }

  /** Deadlines are looked after from time to time for all, which costs less than a timer for each request. */
  private sweep(): void {
    const now = performance.now()
    const late = now - this.sweptAt > 3 * SWEEP_MS
    this.sweptAt = now
    for (const connection of [...this.idle]) {
      if (now - connection.idleSince > connection.idleLimitMs) connection.abort()
    }
    // This process itself did not run: what came in the meantime has to be read before anybody is called late.
    if (late) return
    for (const connection of [...this.all]) {
      if (connection.waitingSince === 0) continue
      const limit = connection.connecting ? this.timeouts.connectMs : this.timeouts.firstByteMs
      if (limit > 0 && now - connection.waitingSince > limit) connection.timeOut()
    }
  }

  /** No new requests; those under way end in their own time. */
  close(): void {
    this.closed = true
    for (const connection of [...this.idle]) connection.abort()
  }
}
