import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocketServer } from 'ws'

/**
 * A real app for the router's tests. It tells who it is and what it was sent, and can be slow, silent, broken or
 * endless on request. Runs inside a test, or as a process of its own (origin-process.ts) that can be killed.
 */
export type Origin = {
  name: string
  port: number
  address: string
  /** All requests so far but the router's own checks. */
  seen: { method: string; url: string; headers: string[] }[]
  /** How many questions of the router's own it got. */
  checks: number
  /** Sets what `/` and every other path without a meaning answers. */
  status: number
  server: Server
  sockets: Set<Socket>
  /** Those that have brought a request before. */
  served: Set<Socket>
  /** What answers the requests of `/hold`: for what has to be in flight until something else has happened. */
  held: (() => void)[]
  close(): Promise<void>
}

export async function startOrigin(name: string, port = 0): Promise<Origin> {
  const sockets = new Set<Socket>()
  const origin: Origin = {
    name,
    port: 0,
    address: '',
    seen: [],
    checks: 0,
    status: 200,
    server: null as never,
    sockets,
    served: new Set(),
    held: [],
    close,
  }
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 60_000 }, (req, res) => handle(origin, req, res))
  const webSockets = new WebSocketServer({ noServer: true })
  server.on('upgrade', (req, socket, head) => {
    origin.seen.push({ method: 'UPGRADE', url: req.url ?? '', headers: req.rawHeaders })
    if (req.url?.startsWith('/refuse')) {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno')
      return
    }
    webSockets.handleUpgrade(req, socket, head, (ws) => {
      ws.send(JSON.stringify({ hello: name, headers: req.rawHeaders }))
      if (req.url?.startsWith('/flood')) flood(ws, req.url)
      ws.on('message', (data, binary) => ws.send(data, { binary }))
    })
  })
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => {
      sockets.delete(socket)
      origin.served.delete(socket)
    })
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  origin.server = server
  origin.port = (server.address() as AddressInfo).port
  origin.address = `127.0.0.1:${origin.port}`
  async function close() {
    webSockets.close()
    for (const socket of sockets) socket.destroy()
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }
  return origin
}

function flood(ws: import('ws').WebSocket, url: string): void {
  const size = Number(new URL(url, 'http://x').searchParams.get('size') ?? 70_000)
  const message = Buffer.alloc(size, 'f')
  const timer = setInterval(() => {
    if (ws.bufferedAmount < 1e6) ws.send(message)
  }, 1)
  ws.on('close', () => clearInterval(timer))
}

function handle(origin: Origin, req: IncomingMessage, res: ServerResponse): void {
  origin.served.add(req.socket)
  const isCheck = req.headers['user-agent'] === 'coppice-router-check'
  if (isCheck) origin.checks++
  else if (req.url !== '/seen')
    origin.seen.push({ method: req.method ?? '', url: req.url ?? '', headers: req.rawHeaders })
  const url = new URL(req.url ?? '/', 'http://origin')
  const number = (name: string, otherwise: number) => Number(url.searchParams.get(name) ?? otherwise)
  const tell = (extra: object = {}) => {
    const body = JSON.stringify({
      instance: origin.name,
      pid: process.pid,
      method: req.method,
      url: req.url,
      headers: req.rawHeaders,
      ...extra,
    })
    res.setHeader('content-type', 'application/json')
    res.setHeader('x-instance', origin.name)
    res.setHeader('content-length', Buffer.byteLength(body))
    res.writeHead(origin.status)
    res.end(req.method === 'HEAD' ? undefined : body)
  }
  const readBody = (done: (info: { bytes: number; sha256: string }) => void) => {
    const hash = createHash('sha256')
    let bytes = 0
    req.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      hash.update(chunk)
    })
    req.on('end', () => done({ bytes, sha256: hash.digest('hex') }))
  }
  switch (url.pathname) {
    case '/seen':
      res.end(JSON.stringify({ seen: origin.seen.map(({ method, url }) => `${method} ${url}`), checks: origin.checks }))
      return
    case '/block':
      // As `time.sleep` in an `async def`: until then this process does nothing else.
      readBody((info) => {
        const release = url.searchParams.get('until')
        if (release === null) standStill(number('ms', 6_000))
        else while (!existsSync(release)) standStill(20)
        // What a server does whose time for idle connections has passed meanwhile: those others go unread.
        const closeOthers = () => {
          for (const socket of origin.served) if (socket !== req.socket) socket.destroy()
        }
        const close = url.searchParams.get('close')
        if (close === 'before') closeOthers()
        tell(info)
        if (close === 'behind') setImmediate(closeOthers)
      })
      return
    case '/garbage':
      req.socket.end('HTTP/1.1 200 OK\nContent-Length: 2\n\nok\r\n\r\n')
      return
    case '/slow':
      readBody((info) => setTimeout(() => tell(info), number('ms', 200)))
      return
    case '/hold':
      readBody((info) => origin.held.push(() => tell(info)))
      return
    case '/status':
      res.writeHead(number('code', 200), { 'content-length': 0 })
      res.end()
      return
    case '/bare': {
      // Written as it is: node would leave the length out by itself.
      const length = url.searchParams.get('length')
      req.socket.end(
        `HTTP/1.1 ${number('code', 200)} As Told\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n${length === null ? '' : `Content-Length: ${length}\r\n`}Connection: close\r\n\r\n`,
      )
      return
    }
    case '/drop':
      req.socket.destroy()
      return
    case '/cut':
      res.writeHead(200, { 'transfer-encoding': 'chunked' })
      res.write('half of it')
      setTimeout(() => req.socket.destroy(), 20)
      return
    case '/early':
      // Answers before the body was read, and never reads it.
      res.writeHead(413, { 'content-length': 5, connection: 'close' })
      res.end('early')
      return
    case '/headers':
      res.writeHead(200, [
        ['Connection', 'close, X-Private'],
        ['X-Private', 'secret'],
        ['Keep-Alive', 'timeout=5'],
        ['X-Coppice-Router', 'Forged'],
        ['Set-Cookie', 'a=1'],
        ['Set-Cookie', 'b=2'],
        ['Cache-Control', 'public, max-age=60'],
        ['Content-Length', '2'],
      ] as never)
      res.end('ok')
      return
    case '/trailers':
      res.writeHead(200, { trailer: 'X-Sum', 'transfer-encoding': 'chunked' })
      res.write('body')
      res.addTrailers({ 'X-Sum': '42' })
      res.end()
      return
    case '/hints':
      res.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' })
      setTimeout(() => tell(), 20)
      return
    case '/events': {
      res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
      let n = 0
      const send = () => res.write(`data: ${origin.name} ${n++}\n\n`)
      const timer = setInterval(send, number('ms', 20))
      res.on('close', () => clearInterval(timer))
      send()
      return
    }
    case '/download': {
      const total = number('bytes', 1e6)
      res.writeHead(200, { 'content-length': total })
      const piece = Buffer.alloc(65_536, 'd')
      let sent = 0
      const more = () => {
        while (sent < total) {
          const chunk = piece.subarray(0, Math.min(piece.length, total - sent))
          sent += chunk.length
          if (!res.write(chunk)) {
            res.once('drain', more)
            return
          }
        }
        res.end()
      }
      more()
      return
    }
    case '/sip': {
      // Takes the body a little at a time.
      let bytes = 0
      req.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (url.searchParams.has('ms')) {
          req.pause()
          setTimeout(() => req.resume(), number('ms', 1))
        }
      })
      req.on('end', () => tell({ bytes }))
      return
    }
    default:
      readBody((info) => tell(info))
  }
}

function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
