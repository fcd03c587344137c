import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'

/**
 * The oracle of the fuzz test: an origin that reads HTTP/1.1 from a raw socket by the letter of RFC 9112, with no line
 * of code in common with the router or with node:http. It answers everything that it can read, and remembers
 * whatever a strict reader has to object to.
 */
export type SeenRequest = { method: string; target: string; headers: [name: string, value: string][]; body: string }

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) (\/[\x21-\x22\x24-\x7e]*) HTTP\/1\.1$/
const FIELD_VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/

export class StrictOrigin {
  readonly seen: SeenRequest[] = []
  readonly objections: string[] = []
  port = 0
  private readonly server: Server
  private readonly sockets = new Set<Socket>()

  constructor() {
    this.server = createServer((socket) => {
      this.sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => this.sockets.delete(socket))
      this.read(socket)
    })
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    this.port = (this.server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise<void>((resolve) => this.server.close(() => resolve()))
  }

  private read(socket: Socket): void {
    let bytes = ''
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
        if (
          !result.request.headers.some(
            ([name, value]) => name.toLowerCase() === 'user-agent' && value === 'coppice-router-check',
          )
        ) {
          this.seen.push(result.request)
        }
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      }
    })
  }
}

/** @returns the first request and its length in bytes, 'more' if it is not complete, else an objection */
export function readRequest(bytes: string): { request: SeenRequest; length: number } | string {
  const headEnd = bytes.indexOf('\r\n\r\n')
  const head = headEnd === -1 ? bytes : bytes.slice(0, headEnd + 2)
  if (/(?<!\r)\n|\r(?!\n|$)/.test(head)) return 'bare CR or LF in the head'
  if (headEnd === -1) return 'more'
  const [requestLine = '', ...fields] = bytes.slice(0, headEnd).split('\r\n')
  const line = REQUEST_LINE.exec(requestLine)
  if (line === null) return 'request line'
  const headers: [string, string][] = []
  for (const field of fields) {
    const colon = field.indexOf(':')
    const name = field.slice(0, colon)
    if (colon < 1 || !TOKEN.test(name)) return 'field name'
    const value = field.slice(colon + 1).replace(/^[ \t]*|[ \t]*$/g, '')
    if (!FIELD_VALUE.test(value)) return 'field value'
    headers.push([name, value])
  }
  const all = (name: string) => headers.filter(([other]) => other.toLowerCase() === name).map(([, value]) => value)
  if (all('host').length !== 1) return 'Host'
  const [lengths, codings] = [all('content-length'), all('transfer-encoding')]
  if (lengths.length + codings.length > 1) return 'more than one framing'
  const start = headEnd + 4
  const request = { method: line[1] as string, target: line[2] as string, headers, body: '' }
  if (codings.length === 1) {
    if (codings[0] !== 'chunked') return 'transfer coding'
    const chunks = readChunks(bytes, start)
    if (typeof chunks === 'string') return chunks
    return { request: { ...request, body: chunks.body }, length: chunks.end }
  }
  if (lengths.length === 1 && !/^\d+$/.test(lengths[0] as string)) return 'Content-Length'
  const end = start + Number(lengths[0] ?? 0)
  if (bytes.length < end) return 'more'
  return { request: { ...request, body: bytes.slice(start, end) }, length: end }
}

function readChunks(bytes: string, start: number): { body: string; end: number } | string {
  let at = start
  let body = ''
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd === -1) return bytes.length - at > 200 ? 'chunk size' : 'more'
    const sizeLine = /^([0-9a-fA-F]{1,8})(?:;[\t\x20-\x7e]*)?$/.exec(bytes.slice(at, lineEnd))
    if (sizeLine === null) return 'chunk size'
    const size = Number.parseInt(sizeLine[1] as string, 16)
    at = lineEnd + 2
    if (size === 0) {
      if (bytes.length < at + 2) return 'more'
      return bytes.startsWith('\r\n', at) ? { body, end: at + 2 } : 'trailers, which the router does not pass on'
    }
    if (bytes.length < at + size + 2) return 'more'
    if (!bytes.startsWith('\r\n', at + size)) return 'chunk end'
    body += bytes.slice(at, at + size)
    at += size + 2
  }
}
