/** Deforms requests, the same way for the same seed. */
export class Mutator {
  private state: number
  private readonly corpus: readonly string[]

  constructor(corpus: readonly string[], seed: number) {
    this.corpus = corpus
    this.state = seed >>> 0
  }

  next(): string {
    let text = this.pick(this.corpus)
    // Some stay as they are: pipelined behind one another they are a test too.
    for (let n = this.below(5); n > 0; n--) text = this.mutate(text)
    while (this.below(4) === 0) text += this.pick(this.corpus)
    return text
  }

  private mutate(text: string): string {
    const at = this.below(text.length + 1)
    switch (this.below(12)) {
      case 0:
        return text.slice(0, at) + String.fromCharCode(this.below(256)) + text.slice(at + 1)
      case 1:
        return text.slice(0, at) + String.fromCharCode(this.below(256)) + text.slice(at)
      case 2:
        return text.slice(0, at) + text.slice(at + 1 + this.below(8))
      case 3:
        return text.slice(0, at) + this.pick(SPICES) + text.slice(at)
      case 4: {
        const lines = text.split('\r\n')
        const line = this.below(lines.length)
        lines.splice(line, 0, this.pick(lines))
        return lines.join('\r\n')
      }
      case 5: {
        const lines = text.split('\r\n')
        lines.splice(1 + this.below(lines.length), 0, this.pick(FIELDS))
        return lines.join('\r\n')
      }
      case 6: {
        const lines = text.split('\r\n')
        lines.splice(this.below(lines.length), 1)
        return lines.join('\r\n')
      }
      case 7:
        return text.replace(/\r\n/g, (end) =>
          this.below(6) === 0 ? this.pick(['\n', '\r', '\r\r\n', ' \r\n', '\r\n ', '\n\r\n']) : end,
        )
      case 8:
        return text.replace(/\d+/, () =>
          this.pick(['0', '1', '3', '00003', '-1', '+3', '0x3', '3 3', '99999999999999999999', '']),
        )
      case 9:
        return text.replace(/[A-Za-z]/g, (c) =>
          this.below(8) === 0 ? (c < 'a' ? c.toLowerCase() : c.toUpperCase()) : c,
        )
      case 10: {
        const other = this.pick(this.corpus)
        return text.slice(0, at) + other.slice(this.below(other.length))
      }
      default:
        return text.slice(0, at)
    }
  }

  private below(n: number): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) % Math.max(1, n)
  }

  private pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T
  }
}

const SPICES = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  ' ',
  '\t',
  ':',
  ';',
  ',',
  '\x0b',
  '\x7f',
  '\xff',
  '%00',
  '\r\n\r\n',
  '0\r\n\r\n',
  'HTTP/1.1',
  '\u00a0',
  '"',
  '\\',
  '#',
  '..',
  '//',
]

const FIELDS = [
  'Content-Length: 0',
  'Content-Length: 5',
  'Content-Length: 5, 5',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding : chunked',
  'transfer-encoding:\tchunked',
  'Host: app.localhost',
  'Host: other.localhost',
  'Connection: close',
  'Connection: keep-alive, X-Request-Id, Host, Content-Length, Transfer-Encoding',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Upgrade: h2c',
  'Expect: 100-continue',
  'Expect: nonsense',
  'X-Request-Id: 00000000-0000-0000-0000-000000000000',
  'X-Forwarded-For: 6.6.6.6',
  'Cookie: __Host-databricks-app-router=nonsense; a=b',
  'X-Routing-Key: \xff\xfe',
  'TE: trailers',
  'Trailer: X-Request-Id',
  ' folded',
  '\tfolded',
  ': nameless',
  'nonsense',
]
