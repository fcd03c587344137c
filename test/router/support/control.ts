import { mkdtemp, writeFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type RouterReport, type RouteTable, routerReportSchema } from '../../../domain/route-table.ts'
import { removeTree } from '../../../runtime/artifacts/trees.ts'

/** The control plane's end of the protocol, for tests: publishes what it is told to and remembers every report. */
export type TestControl = {
  url: string
  tokenFile: string
  reports: (RouterReport & { at: number })[]
  removed: string[]
  signedOff: RouterReport[]
  streams: number
  /** Anything else than a table too, for one of a newer program. */
  publish(table: RouteTable | { [field: string]: unknown; inventory: string; version: number }): void
  /** Cuts every stream and answers nothing, as if it were dead, until it is undone. */
  dead: boolean
  last(): RouterReport | undefined
  close(): Promise<void>
}

export async function startControl(first: RouteTable): Promise<TestControl> {
  const token = 'test-token-of-the-control-plane'
  const dir = await mkdtemp(join(tmpdir(), 'coppice-control-'))
  let table: Pick<RouteTable, 'inventory' | 'version'> = first
  const streams = new Set<ServerResponse>()
  const control: TestControl = {
    url: '',
    tokenFile: '',
    reports: [],
    removed: [],
    signedOff: [],
    streams: 0,
    publish: (next) => {
      table = next
      for (const stream of streams) send(stream)
    },
    get dead() {
      return dead
    },
    set dead(now: boolean) {
      dead = now
      if (now) for (const stream of streams) stream.destroy()
    },
    last: () => control.reports.at(-1),
    close: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
      await removeTree(dir)
    },
  }
  let dead = false
  const send = (stream: ServerResponse) => stream.write(`event: table\ndata: ${JSON.stringify(table)}\n\n`)
  const server = createServer((req, res) => {
    if (dead) {
      req.socket.destroy()
      return
    }
    if (req.headers.authorization !== `Bearer ${token}`) {
      res.writeHead(401).end()
      return
    }
    const url = new URL(req.url ?? '', 'http://control')
    if (req.method === 'GET' && url.pathname === '/api/coppice/v1/routes/stream') {
      control.streams++
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      streams.add(res)
      send(res)
      const comments = setInterval(() => res.write(': alive\n\n'), 1000)
      res.on('close', () => {
        clearInterval(comments)
        streams.delete(res)
      })
    } else if (req.method === 'POST' && url.pathname === '/api/coppice/v1/routers/report') {
      let body = ''
      req.on('data', (chunk) => {
        body += chunk
      })
      req.on('end', () => {
        const report = routerReportSchema.parse(JSON.parse(body))
        if (report.leaving) control.signedOff.push(report)
        control.reports.push({ ...report, at: performance.now() })
        const counted = report.inventory === table.inventory && report.version >= table.version
        res.setHeader('content-type', 'application/json')
        res.end(JSON.stringify({ counted, inventory: table.inventory, version: table.version, leaseMs: 10_000 }))
      })
    } else if (req.method === 'DELETE') {
      control.removed.push(decodeURIComponent(url.pathname.split('/').at(-1) ?? ''))
      res.end()
    } else res.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  control.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  control.tokenFile = join(dir, 'token')
  await writeFile(control.tokenFile, `${token}\n`)
  return control
}
