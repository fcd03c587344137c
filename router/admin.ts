import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { withHint } from '../domain/errors.ts'
import { judgeBodyType, judgeOrigin, OWN_PAGES_ONLY, type OwnOrigin } from '../domain/web-origin.ts'
import { replaceFile } from './durable-file.ts'
import { listenOn } from './listener.ts'
import { exposition, type MetricsSnapshot } from './metrics.ts'
import { HOSTS_OPTION, type Listen, type RouterOptions } from './options.ts'
import type { RouterStatus } from './primary.ts'

export type AdminParts = {
  options: RouterOptions
  status(): RouterStatus
  metrics(): MetricsSnapshot
  /** By instance id. */
  sessions(): Promise<Record<string, number>>
  /** Null, or why not. */
  replaceProcesses(): Promise<string | null>
  /** Tells of what is not well, null when it is again. */
  problem(key: string, message: string | null): void
}

const KEEP_AGAIN_MS = 1_000
/** Operators and their tools; the primary, which has the table, needs its descriptors and its time for that. */
const MAX_CONNECTIONS = 64
/** For a whole request: none of these has much of a body. So a place that nobody uses is free again soon. */
const REQUEST_MS = 10_000

/**
 * For operators and their tools, with a token always (R13.5):
 * GET /livez, /readyz, /status, /table, /sessions, /metrics; POST /processes/replace.
 */
export class Admin {
  private readonly parts: AdminParts
  private readonly server: Server
  private tokenDigest = Buffer.alloc(32)
  private port = 0
  private readonly own: OwnOrigin

  constructor(parts: AdminParts) {
    this.parts = parts
    const { admin, hosts } = parts.options
    const own = admin !== null && 'host' in admin ? [admin.host.toLowerCase()] : []
    this.own = { names: new Set([...own, ...hosts]), namesOption: HOSTS_OPTION }
    const settings = { headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS, connectionsCheckingInterval: 1000 }
    this.server = createServer(settings, (req, res) => {
      this.handle(req, res).catch((error: Error) =>
        send(res, 500, { error_code: 'INTERNAL_ERROR', message: error.message }),
      )
    })
  }

  async start(): Promise<void> {
    this.server.maxConnections = MAX_CONNECTIONS
    // Without a listener an accept that fails would end the primary, and with it all processes.
    this.server.on('error', () => undefined)
    this.tokenDigest = digest(await this.token())
    this.port = await listenOn(this.server, this.parts.options.admin as Listen)
  }

  address(): string {
    const address = this.server.address() as AddressInfo | null
    return `http://${address?.family === 'IPv6' ? `[${address.address}]` : address?.address}:${this.port}`
  }

  stop(): Promise<void> {
    this.server.closeAllConnections()
    return new Promise((resolve) => this.server.close(() => resolve()))
  }

  private async token(): Promise<string> {
    const { adminTokenFile, stateDir } = this.parts.options
    const path = adminTokenFile ?? join(stateDir as string, 'admin-token')
    try {
      const token = (await readFile(path, 'utf8')).trim()
      if (token.length >= 16) return token
      throw new Error(`${path}: the token is shorter than 16 characters`)
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    }
    const token = randomBytes(24).toString('base64url')
    await this.keep(path, token)
    return token
  }

  /** Traffic does not wait for the disk: while the token cannot be written down nobody knows it, and that is all. */
  private async keep(path: string, token: string): Promise<void> {
    try {
      await replaceFile(path, `${token}\n`)
      this.parts.problem('admin', null)
    } catch (error) {
      this.parts.problem('admin', `its token cannot be written down: ${(error as Error).message}`)
      setTimeout(() => void this.keep(path, token), KEEP_AGAIN_MS).unref()
    }
  }

  private async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(OWN_PAGES_ONLY)) res.setHeader(name, value)
    const refused = judgeOrigin(req.headers, this.own) ?? judgeBodyType(req.headers, ['application/json'])
    if (refused !== null) {
      send(res, refused.row.status, {
        error_code: refused.row.apiCode,
        message: withHint(refused.code, refused.message),
      })
      return
    }
    const given = /^Bearer (.+)$/.exec(req.headers.authorization ?? '')?.[1] ?? ''
    if (!timingSafeEqual(digest(given), this.tokenDigest)) {
      send(res, 401, { error_code: 'UNAUTHENTICATED', message: 'Send "Authorization: Bearer <admin token>".' })
      return
    }
    const route = `${req.method} ${req.url?.split('?')[0]}`
    switch (route) {
      case 'GET /livez':
        send(res, 200, { live: true })
        return
      case 'GET /readyz': {
        const { ready, stale, acknowledged } = this.parts.status()
        send(res, ready ? 200 : 503, { ready, stale, ...acknowledged })
        return
      }
      case 'GET /status': {
        const { table: _, ...status } = this.parts.status()
        send(res, 200, status)
        return
      }
      case 'GET /table':
        send(res, 200, this.parts.status().table)
        return
      case 'GET /sessions':
        send(res, 200, { sessions: await this.parts.sessions() })
        return
      case 'GET /metrics':
        res.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8')
        res.end(this.metrics())
        return
      case 'POST /processes/replace':
        {
          const problem = await this.parts.replaceProcesses()
          if (problem === null) send(res, 200, { processes: this.parts.status().processes })
          else send(res, 500, { error_code: 'NotReplaced', message: problem })
        }
        return
      default:
        send(res, 404, { error_code: 'RESOURCE_DOES_NOT_EXIST', message: `There is no ${route} here.` })
    }
  }

  private metrics(): string {
    const { counters, gauges } = this.parts.metrics()
    const status = this.parts.status()
    gauges.coppice_router_ready = Number(status.ready)
    gauges.coppice_router_stale = Number(status.stale)
    gauges.coppice_router_processes = status.processes
    gauges.coppice_router_table_version = status.acknowledged.version
    gauges.coppice_router_problems = Object.keys(status.problems).length
    for (const [instance, count] of Object.entries(status.inFlight)) {
      gauges[`coppice_router_in_flight_requests{instance="${instance}"}`] = count
    }
    for (const instance of status.down) gauges[`coppice_router_instance_ejected{instance="${instance}"}`] = 1
    for (const instance of status.busy) gauges[`coppice_router_instance_busy{instance="${instance}"}`] = 1
    return exposition(counters, gauges)
  }
}

/** Of equal length whatever was sent, as the comparison demands. */
const digest = (token: string) => createHash('sha256').update(token).digest()

function send(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  res.end(`${JSON.stringify(body, null, 2)}\n`)
}
