import { randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { loopbackCookie, ROUTER_COOKIE } from '../../../domain/product.ts'

/**
 * The client of the bench, a process of its own: raw sockets and ready-made requests, so that it costs little and
 * measures the proxy. Closed loop (each connection asks again as soon as it has its answer) or open loop at a rate.
 */
export type LoadOrder = {
  port: number
  host: string
  method: 'GET' | 'POST'
  path: string
  bodyBytes: number
  connections: number
  seconds: number
  warmUpSeconds: number
  /** Requests a second; 0 for a closed loop. */
  rate: number
}
export type LoadResult = {
  requests: number
  errors: number
  perSecond: number
  p50: number
  p99: number
  dropped: number
}

const HEADERS = [
  'Connection: keep-alive',
  'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24"',
  'sec-ch-ua-mobile: ?0',
  'sec-ch-ua-platform: "Linux"',
  'Upgrade-Insecure-Requests: 1',
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36',
  'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8',
  'Sec-Fetch-Site: same-origin',
  'Sec-Fetch-Mode: navigate',
  'Sec-Fetch-User: ?1',
  'Sec-Fetch-Dest: document',
  'Referer: http://app.localhost/start',
  'Accept-Encoding: gzip, deflate, br, zstd',
  'Accept-Language: en-GB,en;q=0.9,de;q=0.8',
]

function requestBytes(order: LoadOrder): Buffer {
  const key = randomUUID()
  // On plain http a browser has both: the cookie, and its twin that names the app.
  const cookie = `Cookie: theme=dark; ${ROUTER_COOKIE}=${key}; ${loopbackCookie(order.host.split('.')[0] as string)}=${key}`
  const body = order.bodyBytes > 0 ? `Content-Length: ${order.bodyBytes}\r\n` : ''
  const head = `${order.method} ${order.path} HTTP/1.1\r\nHost: ${order.host}\r\n${[...HEADERS, cookie].join('\r\n')}\r\n${body}\r\n`
  return Buffer.concat([Buffer.from(head, 'latin1'), Buffer.alloc(order.bodyBytes, 'b')])
}

class Client {
  busy = false
  private socket: Socket | null = null
  private left = -1
  private head = ''
  private startedAt = 0
  private readonly request: Buffer
  private readonly port: number
  private readonly done: (client: Client, ms: number, ok: boolean) => void

  constructor(order: LoadOrder, done: (client: Client, ms: number, ok: boolean) => void) {
    this.request = requestBytes(order)
    this.port = order.port
    this.done = done
  }

  open(): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect(this.port, '127.0.0.1', () => resolve())
      socket.setNoDelay(true)
      socket.on('data', (chunk) => this.take(chunk))
      socket.on('error', () => undefined)
      socket.on('close', () => {
        this.socket = null
        if (this.busy) this.end(false)
      })
      this.socket = socket
    })
  }

  async ask(at: number): Promise<void> {
    this.busy = true
    this.startedAt = at
    if (this.socket === null) await this.open()
    this.socket?.write(this.request)
  }

  private take(chunk: Buffer): void {
    if (this.left === -1) {
      this.head += chunk.toString('latin1')
      const end = this.head.indexOf('\r\n\r\n')
      if (end === -1) return
      const length = /\r\ncontent-length: ?(\d+)/i.exec(this.head)
      if (length === null || !this.head.startsWith('HTTP/1.1 200')) {
        this.socket?.destroy()
        return
      }
      this.left = Number(length[1]) - (this.head.length - end - 4)
    } else this.left -= chunk.length
    if (this.left <= 0) this.end(true)
  }

  private end(ok: boolean): void {
    this.busy = false
    this.left = -1
    this.head = ''
    this.done(this, performance.now() - this.startedAt, ok)
  }

  close(): void {
    this.socket?.destroy()
  }
}

async function run(order: LoadOrder): Promise<LoadResult> {
  const times: number[] = []
  let requests = 0
  let errors = 0
  let dropped = 0
  let measuring = false
  let running = true
  const idle: Client[] = []
  const done = (client: Client, ms: number, ok: boolean) => {
    if (measuring) {
      if (ok) {
        requests++
        times.push(ms)
      } else errors++
    }
    if (order.rate > 0) idle.push(client)
    else if (running) void client.ask(performance.now())
  }
  const clients = Array.from({ length: order.connections }, () => new Client(order, done))
  for (const client of clients) await client.open()
  const begin = performance.now()
  if (order.rate === 0) for (const client of clients) void client.ask(performance.now())
  else {
    idle.push(...clients)
    let sent = 0
    const pace = () => {
      if (!running) return
      const now = performance.now()
      for (const due = ((now - begin) / 1000) * order.rate; sent < due; sent++) {
        const client = idle.pop()
        if (client === undefined) dropped++
        // Latency counts from when it was due, not from when there was time for it.
        else void client.ask(begin + (sent * 1000) / order.rate)
      }
      setImmediate(pace)
    }
    pace()
  }
  await new Promise((resolve) => setTimeout(resolve, order.warmUpSeconds * 1000))
  measuring = true
  process.send?.('measuring')
  const start = performance.now()
  await new Promise((resolve) => setTimeout(resolve, order.seconds * 1000))
  measuring = false
  running = false
  const seconds = (performance.now() - start) / 1000
  process.send?.('measured')
  for (const client of clients) client.close()
  times.sort((a, b) => a - b)
  const at = (q: number) => times[Math.min(times.length - 1, Math.floor(times.length * q))] ?? Number.NaN
  return { requests, errors, perSecond: requests / seconds, p50: at(0.5), p99: at(0.99), dropped }
}

process.on('message', async (order: LoadOrder) => {
  const result = await run(order)
  process.send?.(result)
})
