import type { Server } from 'node:http'
import type { SecureContextOptions, Server as TlsServer } from 'node:tls'
import { listenOn } from './listener.ts'
import type { Listen } from './options.ts'

/** To open a port takes milliseconds. */
const OPEN_MS = 5_000

/** The open listeners of one process: the common one, and one for each app that has a port of its own (D13). */
export class Ports {
  private readonly open = new Map<number, Server>()
  private readonly main: Server
  private readonly create: () => Server
  private readonly host: string
  private readonly failed: (port: number, reason: string) => void
  private readonly stuck: () => void
  private mainPort = 0
  /** Closed, but perhaps with connections that were in the middle of a request. */
  private readonly closing = new Set<Server>()

  constructor(
    create: () => Server,
    /** Where the ports of apps are opened. */
    host: string,
    /** A port could not be opened. The next `set` that has it tries again. */
    failed: (port: number, reason: string) => void,
    /**
     * A port is neither opened nor refused: this process had no descriptor for the socket that the primary sent, and Node
     * tells nobody. It would apply no further table.
     */
    stuck: () => void,
  ) {
    this.create = create
    this.host = host
    this.failed = failed
    this.stuck = stuck
    this.main = create()
  }

  /** Those of apps. */
  get opened(): number[] {
    return [...this.open.keys()]
  }

  async listen(where: Listen): Promise<number> {
    this.mainPort = await listenOn(this.main, where)
    return this.mainPort
  }

  /**
   * Opens and closes ports until exactly these are open. One that is taken after all is that app's trouble alone.
   */
  async set(ports: readonly number[]): Promise<void> {
    for (const [port, server] of this.open) {
      if (ports.includes(port)) continue
      this.open.delete(port)
      this.close(server)
    }
    await Promise.all(
      ports.filter((port) => !this.open.has(port) && port !== this.mainPort).map((port) => this.add(port)),
    )
  }

  private async add(port: number): Promise<void> {
    const server = this.create()
    this.open.set(port, server)
    const late = setTimeout(() => {
      this.failed(port, `nothing was heard of it for ${OPEN_MS} ms`)
      this.stuck()
    }, OPEN_MS)
    try {
      await listenOn(server, { host: this.host, port })
    } catch (error) {
      this.open.delete(port)
      this.failed(port, (error as Error).message)
    } finally {
      clearTimeout(late)
    }
  }

  /** For handshakes from now on. */
  useCertificate(context: SecureContextOptions): void {
    for (const server of [this.main, ...this.open.values()]) (server as unknown as TlsServer).setSecureContext(context)
  }

  /** No new connections; idle ones end now, the others with their answer. May be called again for those that are idle by then. */
  closeAll(): void {
    for (const server of [this.main, ...this.open.values()]) this.close(server)
    for (const server of this.closing) server.closeIdleConnections()
    this.open.clear()
  }

  private close(server: Server): void {
    if (this.closing.has(server)) return
    this.closing.add(server)
    server.close(() => this.closing.delete(server))
    server.closeIdleConnections()
  }
}
