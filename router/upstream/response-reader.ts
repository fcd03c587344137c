/**
 * Reads the answers on one connection to an instance (RFC 9112), strictly: an app that runs beside others must not be
 * able to make the router take one answer for two. What is not exactly HTTP/1.x is an error, never a guess.
 */
export interface ResponseSink {
  /** The request that is being answered was a HEAD: its answer has no body whatever it says. */
  readonly isHead: boolean
  onInterim(status: number, headers: string[]): void
  onHead(status: number, reason: string, headers: string[]): void
  onData(chunk: Buffer): void
  /** @param reusable the connection can carry another request */
  onEnd(trailers: string[] | null, reusable: boolean): void
}

export class MalformedResponse extends Error {}

const MAX_HEAD_BYTES = 64 * 1024
const MAX_LINE_BYTES = 4096
/** Interim answers before the answer itself. */
const MAX_INTERIMS = 32

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
const VALUE = '[\\t\\x20-\\x7e\\x80-\\xff]*'
/** The whole head at once: one pass of the regular expression engine judges every byte. */
const HEAD = new RegExp(`^HTTP/1\\.[01] [1-5]\\d\\d(?: ${VALUE})?(?:\\r\\n${TOKEN}:${VALUE})*$`)
const FIELDS = new RegExp(`^${TOKEN}:${VALUE}(?:\\r\\n${TOKEN}:${VALUE})*$`)
const CHUNK_SIZE = new RegExp(`^([0-9a-fA-F]{1,12})[\\t ]*(?:;${VALUE})?$`)

type State =
  | 'head'
  /** A body of known length. */
  | 'sized'
  | 'chunkSize'
  | 'chunkData'
  /** The CRLF behind a chunk. */
  | 'chunkEnd'
  | 'trailers'
  /** A body that ends with the connection. */
  | 'untilClose'

export class ResponseReader {
  /** How long the instance says that it keeps an idle connection, in ms; null if it does not say. */
  keepAliveHintMs: number | null = null
  private state: State = 'head'
  private left = 0
  private interims = 0
  private reusable = true
  /** What came of a head, a chunk size or trailers, as long as they are not complete. */
  private partial: Buffer | null = null
  private readonly sink: ResponseSink

  constructor(sink: ResponseSink) {
    this.sink = sink
  }

  /** Between two answers. */
  get idle(): boolean {
    return this.state === 'head' && this.partial === null
  }

  /** @returns bytes behind the end of the answer, which nobody asked for; @throws MalformedResponse */
  read(data: Buffer): number {
    let chunk = data
    if (this.partial !== null) {
      chunk = Buffer.concat([this.partial, data])
      this.partial = null
    }
    let at = 0
    while (at < chunk.length) {
      const next = this.step(chunk, at)
      if (next === -1) return 0
      at = next
      if (this.done) {
        this.done = false
        return chunk.length - at
      }
    }
    return 0
  }

  /** The instance closed the connection. @returns whether that was the proper end of an answer */
  close(): boolean {
    if (this.state !== 'untilClose') return false
    this.finish(null)
    return true
  }

  private done = false

  /** @returns where to go on, or -1 when more has to come first */
  private step(chunk: Buffer, at: number): number {
    switch (this.state) {
      case 'head':
        return this.readHead(chunk, at)
      case 'sized':
      case 'chunkData': {
        const take = Math.min(this.left, chunk.length - at)
        this.left -= take
        const last = this.left === 0
        if (last && this.state === 'chunkData') this.state = 'chunkEnd'
        this.sink.onData(take === chunk.length ? chunk : chunk.subarray(at, at + take))
        if (last && this.state === 'sized') this.finish(null)
        return at + take
      }
      case 'untilClose':
        this.sink.onData(at === 0 ? chunk : chunk.subarray(at))
        return chunk.length
      case 'chunkSize': {
        const end = this.lineEnd(chunk, at)
        if (end === -1) return -1
        const size = CHUNK_SIZE.exec(chunk.toString('latin1', at, end))
        if (size === null) throw new MalformedResponse('chunk size')
        this.left = Number.parseInt(size[1] as string, 16)
        this.state = this.left === 0 ? 'trailers' : 'chunkData'
        return end + 2
      }
      case 'chunkEnd': {
        if (chunk.length - at < 2) return this.keep(chunk, at)
        if (chunk[at] !== 0x0d || chunk[at + 1] !== 0x0a) throw new MalformedResponse('end of a chunk')
        this.state = 'chunkSize'
        return at + 2
      }
      case 'trailers':
        return this.readTrailers(chunk, at)
    }
  }

  private keep(chunk: Buffer, at: number): -1 {
    if (chunk.length - at > MAX_HEAD_BYTES) throw new MalformedResponse('too much before the end of a line')
    this.partial = at === 0 ? chunk : chunk.subarray(at)
    return -1
  }

  private lineEnd(chunk: Buffer, at: number): number {
    const end = chunk.indexOf('\r\n', at, 'latin1')
    if (end !== -1) return end
    if (chunk.length - at > MAX_LINE_BYTES) throw new MalformedResponse('a line without an end')
    return this.keep(chunk, at)
  }

  private readHead(chunk: Buffer, at: number): number {
    const end = chunk.indexOf('\r\n\r\n', at, 'latin1')
    if (end === -1) return this.keep(chunk, at)
    const text = chunk.toString('latin1', at, end)
    if (end - at > MAX_HEAD_BYTES || !HEAD.test(text)) throw new MalformedResponse('head')
    const status = (text.charCodeAt(9) - 48) * 100 + (text.charCodeAt(10) - 48) * 10 + (text.charCodeAt(11) - 48)
    const firstEnd = text.indexOf('\r\n')
    const reason = text.slice(13, firstEnd === -1 ? text.length : firstEnd)
    const headers = firstEnd === -1 ? [] : fields(text, firstEnd + 2)
    if (status < 200) {
      if (status === 101) throw new MalformedResponse('an upgrade that was not asked for')
      if (++this.interims > MAX_INTERIMS) throw new MalformedResponse('interim answers without an end')
      this.sink.onInterim(status, headers)
    } else this.begin(status, reason, headers, text.charCodeAt(7) === 0x31)
    return end + 4
  }

  /** The framing of the answer (RFC 9112 6.3). */
  private begin(status: number, reason: string, headers: string[], is11: boolean): void {
    let length = -1
    let chunked = false
    let connection = ''
    this.keepAliveHintMs = null
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i] as string
      const value = headers[i + 1] as string
      // By length first: few names have one of these, and those are compared.
      switch (name.length) {
        case 14:
          if (name.toLowerCase() === 'content-length') {
            if (length !== -1 || !/^\d{1,15}$/.test(value)) throw new MalformedResponse('Content-Length')
            length = Number(value)
          }
          break
        case 17:
          if (name.toLowerCase() === 'transfer-encoding') {
            if (chunked || value.toLowerCase() !== 'chunked' || !is11) throw new MalformedResponse('Transfer-Encoding')
            chunked = true
          }
          break
        case 10: {
          const lower = name.toLowerCase()
          if (lower === 'connection') connection += `,${value.toLowerCase()}`
          else if (lower === 'keep-alive') {
            const hint = /(?:^|[\s,])timeout=(\d{1,6})/i.exec(value)
            if (hint !== null) this.keepAliveHintMs = Number(hint[1]) * 1000
          }
          break
        }
      }
    }
    if (chunked && length !== -1) throw new MalformedResponse('both Content-Length and Transfer-Encoding')
    this.reusable = is11 ? !hasToken(connection, 'close') : hasToken(connection, 'keep-alive')
    const { isHead } = this.sink
    if (isHead || status === 204 || status === 304) {
      // If it has a body all the same, that would be read as the next answer.
      if (!isHead && (chunked || length > 0)) this.reusable = false
      this.sink.onHead(status, reason, headers)
      this.finish(null)
      return
    }
    if (chunked) this.state = 'chunkSize'
    else if (length >= 0) {
      this.left = length
      this.state = 'sized'
    } else {
      this.state = 'untilClose'
      this.reusable = false
    }
    this.sink.onHead(status, reason, headers)
    if (length === 0) this.finish(null)
  }

  private readTrailers(chunk: Buffer, at: number): number {
    if (chunk.length - at < 2) return this.keep(chunk, at)
    if (chunk[at] === 0x0d && chunk[at + 1] === 0x0a) {
      this.finish(null)
      return at + 2
    }
    const end = chunk.indexOf('\r\n\r\n', at, 'latin1')
    if (end === -1) return this.keep(chunk, at)
    const text = chunk.toString('latin1', at, end)
    if (!FIELDS.test(text)) throw new MalformedResponse('trailers')
    this.finish(fields(text, 0))
    return end + 4
  }

  private finish(trailers: string[] | null): void {
    this.state = 'head'
    this.interims = 0
    this.done = true
    this.sink.onEnd(trailers, this.reusable)
  }
}

/** Names and values of lines that the expressions above have found to be fields. */
function fields(text: string, from: number): string[] {
  const out: string[] = []
  let at = from
  while (at < text.length) {
    const colon = text.indexOf(':', at)
    const lineEnd = text.indexOf('\r\n', colon)
    const end = lineEnd === -1 ? text.length : lineEnd
    let start = colon + 1
    let stop = end
    while (start < stop && isBlank(text.charCodeAt(start))) start++
    while (stop > start && isBlank(text.charCodeAt(stop - 1))) stop--
    out.push(text.slice(at, colon), text.slice(start, stop))
    at = end + 2
  }
  return out
}

const isBlank = (code: number) => code === 0x20 || code === 0x09

function hasToken(list: string, token: string): boolean {
  if (list === '') return false
  if (list === `,${token}`) return true
  return list.split(',').some((one) => one.trim() === token)
}
