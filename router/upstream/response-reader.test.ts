import { describe, expect, it } from 'vitest'
import { MalformedResponse, ResponseReader, type ResponseSink } from './response-reader.ts'

type Seen = {
  heads: [number, string, string[]][]
  body: string
  ends: [string[] | null, boolean][]
  interims: number[]
  upgrades: [string[], string][]
}

function reading({ isHead = false, mayUpgrade = false } = {}) {
  const seen: Seen = { heads: [], body: '', ends: [], interims: [], upgrades: [] }
  const sink: ResponseSink = {
    isHead,
    mayUpgrade,
    onInterim: (status) => seen.interims.push(status),
    onHead: (status, reason, headers) => seen.heads.push([status, reason, headers]),
    onData: (chunk) => {
      seen.body += chunk.toString('latin1')
    },
    onEnd: (trailers, reusable) => seen.ends.push([trailers, reusable]),
    onUpgrade: (headers, rest) => seen.upgrades.push([headers, rest.toString('latin1')]),
  }
  return { seen, reader: new ResponseReader(sink) }
}

const bytes = (text: string) => Buffer.from(text, 'latin1')

describe('reading answers', () => {
  const GOOD: [name: string, text: string, body: string, reusable: boolean][] = [
    ['a sized body', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: 1\r\n\r\nhello', 'hello', true],
    ['no body', 'HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n', '', true],
    ['no reason', 'HTTP/1.1 204\r\n\r\n', '', true],
    [
      'chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;ext="1"\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n',
      'hello0123456789',
      true,
    ],
    [
      'trailers',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 42\r\nY: z\r\n\r\n',
      'x',
      true,
    ],
    [
      'interim answers before it',
      'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx',
      'x',
      true,
    ],
    ['Connection: close', 'HTTP/1.1 200 OK\r\nConnection: X-Y, close\r\nContent-Length: 1\r\n\r\nx', 'x', false],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx', 'x', false],
    ['HTTP/1.0 that keeps alive', 'HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx', 'x', true],
    ['a 304 with the length of what it spares', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n', '', false],
  ]

  it.each(GOOD)('%s, however it is cut into pieces', (_name, text, body, reusable) => {
    const whole = reading()
    whole.reader.read(bytes(text))
    expect([whole.seen.body, whole.seen.ends.length, whole.seen.ends[0]?.[1]]).toEqual([body, 1, reusable])
    for (let cut = 1; cut < text.length; cut++) {
      const { reader, seen } = reading()
      reader.read(bytes(text.slice(0, cut)))
      reader.read(bytes(text.slice(cut)))
      expect(seen).toEqual(whole.seen)
    }
    const drip = reading()
    for (const c of text) drip.reader.read(bytes(c))
    expect(drip.seen).toEqual(whole.seen)
  })

  it('gives names and values as they came, without the blanks around them', () => {
    const { reader, seen } = reading()
    reader.read(
      bytes(
        'HTTP/1.1 200 Fine by me\r\nX-Mixed:\t a b \t\r\nEmpty:\r\nset-cookie: a\r\nset-cookie: b\r\nL: caf\xe9\r\nContent-Length: 0\r\n\r\n',
      ),
    )
    expect(seen.heads).toEqual([
      [
        200,
        'Fine by me',
        ['X-Mixed', 'a b', 'Empty', '', 'set-cookie', 'a', 'set-cookie', 'b', 'L', 'caf\xe9', 'Content-Length', '0'],
      ],
    ])
  })

  it('a HEAD is answered without a body, whatever the head says, and none that comes all the same is read as an answer', () => {
    for (const framing of ['Content-Length: 10', 'Transfer-Encoding: chunked']) {
      const { reader, seen } = reading({ isHead: true })
      reader.read(bytes(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`))
      expect(seen.ends).toEqual([[null, false]])
    }
  })

  it('a body without framing ends with the connection, a framed one does not', () => {
    const open = reading()
    open.reader.read(bytes('HTTP/1.1 200 OK\r\n\r\nsome'))
    open.reader.read(bytes(' more'))
    open.reader.close()
    expect([open.seen.body, open.seen.ends]).toEqual(['some more', [[null, false]]])
    for (const cut of [
      'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n',
      'HTTP/1.1 20',
    ]) {
      const { reader, seen } = reading()
      reader.read(bytes(cut))
      reader.close()
      expect(seen.ends).toEqual([])
    }
  })

  it('after an answer with bytes behind its end the connection carries no other: they would be its answer', () => {
    for (const answer of GOOD.map(([, text]) => text)) {
      const { reader, seen } = reading()
      reader.read(bytes(`${answer}HTTP/1.1 200 OK\r\n`))
      expect(seen.ends.map(([, reusable]) => reusable)).toEqual([false])
      expect(seen.heads).toHaveLength(1)
    }
  })

  it('R1.6 knows how long the instance keeps the connection, and keeps none for days', () => {
    const { reader } = reading()
    reader.read(bytes('HTTP/1.1 200 OK\r\nKeep-Alive: max=100, timeout=5\r\nContent-Length: 0\r\n\r\n'))
    expect(reader.keepAliveHintMs).toBe(5000)
    reader.read(bytes('HTTP/1.1 200 OK\r\nKeep-Alive: timeout=999999\r\nContent-Length: 0\r\n\r\n'))
    expect(reader.keepAliveHintMs).toBe(60_000)
    reader.read(bytes('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'))
    expect(reader.keepAliveHintMs).toBeNull()
  })

  it.each([
    'HTTP/1.1 200 OK\nContent-Length: 0\n\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n',
    'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
    'HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n',
    'HTTP/1.1 200 OK\r\nX : a\r\n\r\n',
    'HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n',
    'HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n',
    'HTTP/1.1 200 OK\r\nnonsense\r\n\r\n',
    'HTTP/1.1 2000 OK\r\n\r\n',
    'HTTP/1.1 600 OK\r\n\r\n',
    'HTTP/1.1 999 OK\r\n\r\n',
    'HTTP/1.1 000 OK\r\n\r\n',
    'HTTP/1.1 099 OK\r\n\r\n',
    'HTTP/1.1  200 OK\r\n\r\n',
    '\r\nHTTP/1.1 200 OK\r\n\r\n',
    'HTTP/2.0 200 OK\r\n\r\n',
    'HTTP/0.9 200 OK\r\n\r\n',
    'HTTP/2 200 OK\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\n\r\n',
    'SSH-2.0-OpenSSH_9.2\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nnonsense\r\n\r\n',
  ])('R13.2 does not guess what %j means, and waits for no more of it', (text) => {
    expect(() => reading().reader.read(bytes(text))).toThrow(MalformedResponse)
    // In drips it is found at the first byte that is wrong, and not later than when it comes at once.
    const drip = reading()
    expect(() => {
      for (const c of text) drip.reader.read(bytes(c))
    }).toThrow(MalformedResponse)
    expect(drip.seen.ends).toEqual([])
  })

  it.each([
    ['a head', `HTTP/1.1 200 OK\r\nX: ${'v'.repeat(70_000)}\r\n\r\n`],
    ['the size of a chunk', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'1'.repeat(5000)}`],
    ['a trailer', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ${'v'.repeat(70_000)}\r\n\r\n`],
  ])('reads %s to a bound, in whatever pieces', (_what, text) => {
    expect(() => reading().reader.read(bytes(text))).toThrow(MalformedResponse)
    const { reader } = reading()
    expect(() => {
      for (let at = 0; at < text.length; at += 100) reader.read(bytes(text.slice(at, at + 100)))
    }).toThrow(MalformedResponse)
  })

  it('R1.6 takes a head in drips, but not in so many that to judge each costs more than the answer is worth', () => {
    const drip = (length: number) => {
      const { reader, seen } = reading()
      for (const c of `HTTP/1.1 200 OK\r\nX: ${'v'.repeat(length)}\r\nContent-Length: 0\r\n\r\n`) reader.read(bytes(c))
      return seen.heads.length
    }
    expect(drip(1_500)).toBe(1)
    expect(() => drip(3_000)).toThrow('too many pieces')
  })

  it.each([
    'HTTP/1.1 200 OK\n',
    'HTTP/1.1 200 OK\r\nX: 1\n',
    'HTTP/1.1 200 OK\r\nX: 1\r\n\n',
    'HTTP/1.1 200 OK\r\n\nX',
    'HTTP/1.1 200 OK\r\rX',
    'HTTP/1.1 200 OK\r\nX y',
    'HTTP/1.1 200 OK\r\n:',
    'HTTP/1.1 200 OK\r\n ',
    'HTTP/1.1 2x',
    'hello',
    'H\n',
    '\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n\n',
  ])('R13.2 does not wait for the rest of %j', (text) => {
    expect(() => reading().reader.read(bytes(text))).toThrow(MalformedResponse)
  })

  it('gives 101 with what is behind it to who asked for a WebSocket, and to nobody else', () => {
    const text = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nX: 1\r\n\r\n'
    const { reader, seen } = reading({ mayUpgrade: true })
    reader.read(bytes(`HTTP/1.1 100 Continue\r\n\r\n${text}\x81\x02hi`))
    expect(seen).toMatchObject({ upgrades: [[['Upgrade', 'WebSocket', 'X', '1'], '\x81\x02hi']], heads: [], ends: [] })
    for (const to of ['h2c', 'websocket, h2c', '']) {
      expect(() => reading({ mayUpgrade: true }).reader.read(bytes(text.replace('WebSocket', to)))).toThrow(
        MalformedResponse,
      )
    }
    expect(() => reading().reader.read(bytes(text))).toThrow(MalformedResponse)
  })

  it('reads a later minor version as HTTP/1.1', () => {
    const { reader, seen } = reading()
    reader.read(bytes('HTTP/1.7 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'))
    expect(seen.ends).toEqual([[null, true]])
  })
})
