import { type Agent, type IncomingHttpHeaders, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { RouterProcess } from './router-process.ts'

export type Answer = {
  status: number
  headers: IncomingHttpHeaders
  rawHeaders: string[]
  text: string
  /** The body of the test origin. */
  json: { instance: string; method: string; url: string; headers: string[]; bytes: number; sha256: string }
  trailers: NodeJS.Dict<string>
}

export type Ask = {
  path?: string
  method?: string
  headers?: Record<string, string | string[]>
  body?: string | Buffer
  host?: string
  agent?: Agent
}

/** One request, never retried; rejects when the connection fails. */
export function ask(router: Pick<RouterProcess, 'port'>, what: Ask = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request(
      {
        host: '127.0.0.1',
        port: router.port,
        path: what.path ?? '/',
        method: what.method ?? 'GET',
        headers: { host: what.host ?? 'app.localhost', ...what.headers },
        agent: what.agent ?? false,
      },
      (res) => {
        const chunks: Buffer[] = []
        res.on('data', (chunk) => chunks.push(chunk))
        res.on('error', reject)
        res.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          const isJson = res.headers['content-type']?.includes('json') ?? false
          resolve({
            status: res.statusCode as number,
            headers: res.headers,
            rawHeaders: res.rawHeaders,
            text,
            json: isJson && text !== '' ? JSON.parse(text) : undefined,
            trailers: res.trailers,
          })
        })
      },
    )
    req.on('error', reject)
    req.end(what.body)
  })
}

/** What the origin was sent under a header name, in order. */
export function sent(answer: Answer, name: string): string[] {
  const raw = answer.json.headers
  return raw.filter((_, i) => i % 2 === 1 && raw[i - 1]?.toLowerCase() === name)
}

/** The cookies that an answer sets, by name. */
export function cookiesOf(answer: Answer): Record<string, { value: string; attributes: string[] }> {
  const cookies: Record<string, { value: string; attributes: string[] }> = {}
  for (const line of answer.headers['set-cookie'] ?? []) {
    const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
    const [name = '', value = ''] = pair.split('=')
    cookies[name] = { value, attributes }
  }
  return cookies
}

/** Sends bytes as they are; resolves with everything that came until the router closed, or after `waitMs`. */
export function raw(
  router: Pick<RouterProcess, 'port'>,
  bytes: string | Buffer,
  waitMs = 3000,
): Promise<{ text: string; closed: boolean }> {
  return new Promise((resolve) => {
    const socket: Socket = connect(router.port, '127.0.0.1')
    let text = ''
    const timer = setTimeout(() => end(false), waitMs)
    function end(closed: boolean) {
      clearTimeout(timer)
      socket.destroy()
      resolve({ text, closed })
    }
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
    })
    socket.on('error', () => end(true))
    socket.on('close', () => end(true))
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  })
}
