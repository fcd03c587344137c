import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { readRequest, type SeenRequest } from '../fuzz/strict-reader.ts'

/** What to answer: pieces of bytes, each sent when the one before it is on its way, and what becomes of the connection. */
export type RawAnswer = { pieces: string[]; end?: 'close' | 'reset' }

/**
 * An instance that answers with whatever bytes it is told to. It reads requests with the strict reader of the fuzz test,
 * so nothing of it is the router's or node's, and remembers each request that reached it, on which connection.
 */
export class RawOrigin {
  /** All requests but the router's own checks, with the number of their connection. */
  readonly seen: (SeenRequest & { connection: number })[] = []
  /** What a strict reader has to object to. */
  readonly objections: string[] = []
  port = 0
  /** By the path of the request, without its query. */
  answers: (request: SeenRequest) => RawAnswer | Promise<RawAnswer> = () => OK
  private readonly server: Server
  private readonly sockets = new Set<Socket>()
  private connections = 0

  constructor() {
    this.server = createServer({ noDelay: true }, (socket) => {
      this.sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => this.sockets.delete(socket))
      this.serve(socket, ++this.connections)
    })
  }

  get name(): string {
    return 'raw'
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** How often something reached it whose path has this in it. */
  count(part: string): number {
    return this.seen.filter(({ target }) => target.includes(part)).length
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    this.port = (this.server.address() as AddressInfo).port
    return this
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }

  private serve(socket: Socket, connection: number): void {
    let bytes = ''
    let busy = Promise.resolve()
    socket.on('data', (chunk) => {
      bytes += chunk.toString('latin1')
      for (;;) {
        const result = readRequest(bytes)
        if (result === 'more') return
        if (typeof result === 'string') {
          this.objections.push(`${result}: ${JSON.stringify(bytes.slice(0, 600))}`)
          socket.destroy()
          return
        }
        bytes = bytes.slice(result.length)
        const { request } = result
        const isCheck = request.headers.some(([, value]) => value === 'coppice-router-check')
        if (!isCheck) this.seen.push({ ...request, connection })
        busy = busy.then(async () => write(socket, isCheck ? OK : await this.answers(request)))
      }
    })
  }
}

export const OK: RawAnswer = { pieces: ['HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'] }

async function write(socket: Socket, { pieces, end }: RawAnswer): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return
    await new Promise((resolve) => socket.write(piece, 'latin1', resolve))
    // So that each is a segment of its own.
    await new Promise((resolve) => setImmediate(resolve))
  }
  if (end === 'close') socket.end()
  else if (end === 'reset') socket.resetAndDestroy()
}
