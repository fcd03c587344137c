import { sliceTrimmed } from '../blanks.ts'

/**
 * Reads the answers on one connection to an instance (RFC 9112), strictly: an app that runs beside others must not be
 * able to make the router take one answer for two. What is not exactly HTTP/1.x is an error, never a guess, and it is
 * one as soon as what has come can no longer become an answer.
 */
export interface ResponseSink {
  /** The request that is being answered was a HEAD: its answer has no body whatever it says. */
  readonly isHead: boolean
  /** The request that is being answered asks for a WebSocket. */
  readonly mayUpgrade: boolean
  onInterim(status: number, headers: string[]): void
  onHead(status: number, reason: string, headers: string[]): void
  onData(chunk: Buffer): void
  /** @param reusable the connection can carry another request */
  onEnd(trailers: string[] | null, reusable: boolean): void
  /** 101. @param rest what came behind the head, which is no HTTP */
  onUpgrade(headers: string[], rest: Buffer): void
}

export class MalformedResponse extends Error {}

const MAX_HEAD_BYTES = 64 * 1024
const MAX_LINE_BYTES = 4096
/** Each piece of a head has all of it judged again: one that comes in more is a way to burn the router's time. */
const MAX_PIECES = 2000
/** Whatever it says: each idle connection costs a descriptor, of which other apps need some. */
const LONGEST_KEEP_ALIVE_S = 60
/** Interim answers before the answer itself. */
const MAX_INTERIMS = 32

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
const VALUE = '[\\t\\x20-\\x7e\\x80-\\xff]*'
/**
 * The whole head at once: one pass of the regular expression engine judges every byte. A later minor version is read as
 * 1.1, which it has to be compatible with (RFC 9110 2.5); statuses from 600 on are none (RFC 9110 15).
 */
const HEAD = new RegExp(`^HTTP/1\\.\\d [1-5]\\d\\d(?: ${VALUE})?(?:\\r\\n${TOKEN}:${VALUE})*$`)
const FIELDS = new RegExp(`^${TOKEN}:${VALUE}(?:\\r\\n${TOKEN}:${VALUE})*$`)
const CHUNK_SIZE = new RegExp(`^([0-9a-fA-F]{1,12})[\\t ]*(?:;${VALUE})?$`)
const SHORTEST_HEAD = 'HTTP/1.1 200'

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
  /** Nothing of the answer is missing; what comes behind it decides whether the connection can be used again. */
  | 'ended'
  /** A 101 has come. */
  | 'upgraded'

export class ResponseReader {
  /** How long the instance says that it keeps an idle connection, in ms, to a minute; null if it does not say. */
  keepAliveHintMs: number | null = null
  private state: State = 'head'
  private left = 0
  private interims = 0
  private reusable = true
  /** Fields of trailers, or of the head of a 101. */
  private fields: string[] | null = null
  /** What came of a head, a chunk size or trailers, as long as they are not complete. */
  private partial: Buffer | null = null
  private pieces = 0
  private readonly sink: ResponseSink

  constructor(sink: ResponseSink) {
    this.sink = sink
  }

  /** @throws MalformedResponse */
  read(data: Buffer): void {
    let chunk = data
    if (this.partial !== null) {
      chunk = Buffer.concat([this.partial, data])
      this.partial = null
    } else this.pieces = 0
    let at = 0
    while (at !== -1 && at < chunk.length && this.state !== 'ended' && this.state !== 'upgraded')
      at = this.step(chunk, at)
    // Bytes that nobody asked for would be taken for the next answer.
    if (this.state === 'ended') this.finish(at === chunk.length)
    else if (this.state === 'upgraded') this.sink.onUpgrade(this.fields ?? [], chunk.subarray(at))
  }

  /** The instance closed the connection, which is the proper end of some answers. */
  close(): void {
    if (this.state === 'untilClose') this.finish(false)
  }

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
        if (last && this.state === 'sized') this.state = 'ended'
        return at + take
      }
      case 'untilClose':
        this.sink.onData(at === 0 ? chunk : chunk.subarray(at))
        return chunk.length
      case 'chunkSize': {
        const end = chunk.indexOf('\r\n', at, 'latin1')
        const line = chunk.toString('latin1', at, end === -1 ? chunk.length : end)
        const size = CHUNK_SIZE.exec(end === -1 ? line.replace(/\r$/, '') || '0' : line)
        if (size === null || line.length > MAX_LINE_BYTES) throw new MalformedResponse('chunk size')
        if (end === -1) return this.keep(chunk, at)
        this.left = Number.parseInt(size[1] as string, 16)
        this.state = this.left === 0 ? 'trailers' : 'chunkData'
        return end + 2
      }
      case 'chunkEnd': {
        if (chunk[at] !== 0x0d || (chunk[at + 1] ?? 0x0a) !== 0x0a) throw new MalformedResponse('end of a chunk')
        if (chunk.length - at < 2) return this.keep(chunk, at)
        this.state = 'chunkSize'
        return at + 2
      }
      case 'trailers':
        return this.readTrailers(chunk, at)
      case 'ended':
      case 'upgraded':
        return at
    }
  }

  private keep(chunk: Buffer, at: number): -1 {
    if (at > 0) this.pieces = 0
    if (++this.pieces > MAX_PIECES) throw new MalformedResponse('in too many pieces')
    this.partial = at === 0 ? chunk : chunk.subarray(at)
    return -1
  }

  private readHead(chunk: Buffer, at: number): number {
    const end = chunk.indexOf('\r\n\r\n', at, 'latin1')
    const text = chunk.toString('latin1', at, end === -1 ? chunk.length : end)
    if (text.length > MAX_HEAD_BYTES || !HEAD.test(end === -1 ? completedHead(text) : text)) {
      throw new MalformedResponse('head')
    }
    if (end === -1) return this.keep(chunk, at)
    const status = (text.charCodeAt(9) - 48) * 100 + (text.charCodeAt(10) - 48) * 10 + (text.charCodeAt(11) - 48)
    const firstEnd = text.indexOf('\r\n')
    const reason = text.slice(13, firstEnd === -1 ? text.length : firstEnd)
    const headers = firstEnd === -1 ? [] : fields(text, firstEnd + 2)
    if (status === 101) this.upgrade(headers)
    else if (status < 200) {
      if (++this.interims > MAX_INTERIMS) throw new MalformedResponse('interim answers without an end')
      this.sink.onInterim(status, headers)
    } else this.begin(status, reason, headers, text.charCodeAt(7) !== 0x30)
    return end + 4
  }

  /** Only to what was asked for (RFC 9110 7.8), which the answer has to name. */
  private upgrade(headers: string[]): void {
    const to = headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === 'upgrade')
    if (!this.sink.mayUpgrade || to.join().toLowerCase() !== 'websocket') throw new MalformedResponse('upgrade')
    this.fields = headers
    this.state = 'upgraded'
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
            if (hint !== null) this.keepAliveHintMs = Math.min(Number(hint[1]), LONGEST_KEEP_ALIVE_S) * 1000
          }
          break
        }
      }
    }
    if (chunked && length !== -1) throw new MalformedResponse('both Content-Length and Transfer-Encoding')
    this.reusable = is11 ? !hasToken(connection, 'close') : hasToken(connection, 'keep-alive')
    const { isHead } = this.sink
    if (isHead || status === 204 || status === 304) {
      // If a body comes all the same, as some apps answer a HEAD, it would be read as the next answer.
      if (isHead || chunked || length > 0) this.reusable = false
      this.state = 'ended'
    } else if (chunked) this.state = 'chunkSize'
    else if (length === 0) this.state = 'ended'
    else if (length > 0) {
      this.left = length
      this.state = 'sized'
    } else {
      this.state = 'untilClose'
      this.reusable = false
    }
    this.sink.onHead(status, reason, headers)
  }

  private readTrailers(chunk: Buffer, at: number): number {
    if (chunk[at] === 0x0d && chunk[at + 1] === 0x0a) {
      this.state = 'ended'
      return at + 2
    }
    const end = chunk.indexOf('\r\n\r\n', at, 'latin1')
    const text = chunk.toString('latin1', at, end === -1 ? chunk.length : end)
    if (text.length > MAX_HEAD_BYTES || !FIELDS.test(end === -1 ? completedFields(text) : text)) {
      throw new MalformedResponse('trailers')
    }
    if (end === -1) return this.keep(chunk, at)
    this.fields = fields(text, 0)
    this.state = 'ended'
    return end + 4
  }

  private finish(nothingBehind: boolean): void {
    const trailers = this.fields
    this.fields = null
    this.state = 'head'
    this.interims = 0
    this.sink.onEnd(trailers, this.reusable && nothingBehind)
  }
}

/** The shortest head that this beginning of one may become: if that is none, nothing that still comes can mend it. */
function completedHead(text: string): string {
  if (text.length < SHORTEST_HEAD.length) return text + SHORTEST_HEAD.slice(text.length)
  return text.includes('\r\n') ? completedFields(text) : text.replace(/\r$/, '')
}

function completedFields(text: string): string {
  const lines = text.replace(/\r$/, '')
  const last = lines.lastIndexOf('\r\n')
  const start = last === -1 ? 0 : last + 2
  if (lines.includes(':', start)) return lines
  return `${lines}${start === lines.length ? 'x' : ''}:`
}

/** Names and values of lines that the expressions above have found to be fields. */
function fields(text: string, from: number): string[] {
  const out: string[] = []
  let at = from
  while (at < text.length) {
    const colon = text.indexOf(':', at)
    const lineEnd = text.indexOf('\r\n', colon)
    const end = lineEnd === -1 ? text.length : lineEnd
    out.push(text.slice(at, colon), sliceTrimmed(text, colon + 1, end))
    at = end + 2
  }
  return out
}

function hasToken(list: string, token: string): boolean {
  if (list === '') return false
  if (list === `,${token}`) return true
  return list.split(',').some((one) => one.trim() === token)
}
