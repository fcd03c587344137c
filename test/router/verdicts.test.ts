import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readAnswer } from './support/answer-reader.ts'
import { type RawAnswer, RawOrigin } from './support/raw-origin.ts'
import { type RouterProcess, startRouter } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

/**
 * What the client gets:
 * `passes`: the answer as it is. `502`: the router's own word, because the head is none. `lost`: the same, but the
 * connection was closed before a head was there, so what may be repeated is asked for once more. `cut`: the head and
 * then a broken connection, because the body is none or has no end; a HEAD, which has none, passes.
 */
type Verdict = 'passes' | '502' | 'lost' | 'cut'
type Row = { name: string; answer: RawAnswer; verdict: Verdict; body?: string }

const row = (verdict: Verdict, name: string, bytes: string | string[], end?: RawAnswer['end']): Row => ({
  name,
  answer: { pieces: typeof bytes === 'string' ? [bytes] : bytes, ...(end && { end }) },
  verdict,
})
const OK = 'HTTP/1.1 200 OK\r\n'
const SIZED = `${OK}Content-Length: 2\r\n`
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`
const WHOLE = `${OK}X-A: b\r\nTransfer-Encoding: chunked\r\n\r\n1;e=1\r\no\r\n1\r\nk\r\n0\r\nX-Sum: 1\r\n\r\n`

/** None of these closes the connection unless it says so: whoever waits for more, waits for 120 s. */
const ROWS: Row[] = [
  row('passes', 'a body of known length', `${SIZED}\r\nok`),
  row('passes', 'chunks, an extension and trailers', WHOLE),
  row('passes', 'all of it in drips', [...WHOLE]),
  row('passes', 'a body that ends with the connection', `${OK}\r\nok`, 'close'),
  row('passes', 'HTTP/1.0', `HTTP/1.0 200 OK\r\n\r\nok`, 'close'),
  row('passes', 'HTTP/1.0 with a length', `HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok`),
  row('passes', 'HTTP/1.2', `HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok`),
  row('passes', 'no reason', `HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok`),
  row(
    'passes',
    'unasked interim answers',
    `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 Odd\r\nX: y\r\n\r\n${SIZED}\r\nok`,
  ),
  row('passes', 'bytes behind its end', `${SIZED}\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged`),
  row('passes', 'an answer behind its end, a moment later', [
    `${SIZED}\r\nok`,
    'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged',
  ]),
  row(
    'passes',
    'a trailer that is announced',
    `${OK}Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n`,
  ),
  row('passes', 'a trailer that cannot come', `${SIZED}Trailer: X-Sum\r\n\r\nok`),

  row('502', 'bare LF throughout', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok'),
  row('502', 'bare LF behind the status line', `HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok`),
  row('502', 'bare LF behind a field', `${OK}Content-Length: 2\n\r\nok`),
  row('502', 'CRLF LF at the end', `${SIZED}\nok`),
  row('502', 'LF CRLF at the end', `${OK}Content-Length: 2\n\r\n\r\nok`),
  row('502', 'LF LF behind CRLF', `${OK}Content-Length: 2\r\n\n\nok`),
  row('502', 'a bare CR', `${OK}X: a\rb\r\nContent-Length: 2\r\n\r\nok`),
  row('502', 'a bare CR at the end', `${SIZED}\rok`),
  ...['000', '099', '600', '999', '20', '2000', 'abc', '-20', '2 0'].map((status) =>
    row('502', `the status ${status}`, `HTTP/1.1 ${status} OK\r\nContent-Length: 2\r\n\r\nok`),
  ),
  ...['HTTP/2.0', 'HTTP/0.9', 'HTTP/1', 'HTTP/1.10', 'http/1.1', 'HTTP/11', 'ICY', 'SSH-2.0-x'].map((version) =>
    row('502', `the version ${version}`, `${version} 200 OK\r\nContent-Length: 2\r\n\r\nok`),
  ),
  row('502', 'a body without a head', 'ok\r\n'),
  row('502', 'a body without a head or a line', 'ok'),
  row('502', 'garbage before the status line', `xx${SIZED}\r\nok`),
  row('502', 'an empty line before the status line', `\r\n${SIZED}\r\nok`),
  row('502', 'two spaces in the status line', `HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok`),
  row(
    '502',
    '101 that was not asked for',
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
  ),
  row('502', 'interim answers without an end', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(100)),
  ...['chunked, gzip', 'gzip, chunked', 'gzip', 'identity', 'xchunked', 'chunked, chunked', '"chunked"', ''].map(
    (coding) =>
      row('502', `Transfer-Encoding: ${coding}`, `${OK}Transfer-Encoding: ${coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n`),
  ),
  row(
    '502',
    'two Transfer-Encodings',
    `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  ),
  row(
    '502',
    'Transfer-Encoding on HTTP/1.0',
    `HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  ),
  row('502', 'Content-Length and Transfer-Encoding', `${SIZED}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`),
  row('502', 'Transfer-Encoding and Content-Length', `${OK}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok`),
  row('502', 'the same Content-Length twice', `${SIZED}Content-Length: 2\r\n\r\nok`),
  row('502', 'two Content-Lengths', `${SIZED}Content-Length: 3\r\n\r\nok`),
  ...['-2', '+2', '0x2', '2, 2', '2 2', '2.0', '', '99999999999999999999'].map((length) =>
    row('502', `Content-Length: ${length}`, `${OK}Content-Length: ${length}\r\n\r\nok`),
  ),
  row('502', 'a folded field', `${OK}X: a\r\n b\r\nContent-Length: 2\r\n\r\nok`),
  row('502', 'a NUL', `${OK}X: a\0b\r\nContent-Length: 2\r\n\r\nok`),
  row('502', 'a DEL', `${OK}X: a\x7fb\r\nContent-Length: 2\r\n\r\nok`),
  row('502', 'a blank before the colon', `${OK}Content-Length : 2\r\n\r\nok`),
  row('502', 'a blank in a name', `${OK}X y: 2\r\n\r\nok`),
  row('502', 'no colon', `${SIZED}nonsense\r\n\r\nok`),
  row('502', 'no name', `${SIZED}: x\r\n\r\nok`),
  row('502', 'a head of 70 kB', `${SIZED}X: ${'v'.repeat(70_000)}\r\n\r\nok`),
  row('502', 'a head without an end', [`${SIZED}`, ...new Array(10).fill(`X: ${'v'.repeat(8000)}\r\n`)]),
  row('502', 'a wrong byte in drips', [...`${OK}X: a\0`]),

  row('lost', 'nothing', [], 'close'),
  row('lost', 'nothing but a reset', [], 'reset'),
  row('lost', 'an interim answer and nothing', 'HTTP/1.1 100 Continue\r\n\r\n', 'close'),

  ...['x', '0x2', '-2', '+2', ' 2', '2 x', '1000000000000000', ''].map((size) =>
    row('cut', `the chunk size ${JSON.stringify(size)}`, `${CHUNKED}1\r\no\r\n${size}\r\nk\r\n0\r\n\r\n`),
  ),
  row('cut', 'a chunk size with a bare LF', `${CHUNKED}2\nok\r\n0\r\n\r\n`),
  row('cut', 'a chunk size with a bare LF, and nothing behind it', [CHUNKED, '2\n']),
  row('cut', 'a chunk extension with a bare LF', `${CHUNKED}2;a\nok\r\n0\r\n\r\n`),
  row('cut', 'a chunk that is longer than it says', `${CHUNKED}1\r\nok\r\n0\r\n\r\n`),
  row('cut', 'a chunk with a bare LF behind it', [`${CHUNKED}2\r\nok`, '\n']),
  row('cut', 'trailers with a bare LF', [`${CHUNKED}2\r\nok\r\n0\r\n`, 'X: 1\n']),
  row('cut', 'trailers that end in a bare LF', `${CHUNKED}2\r\nok\r\n0\r\nX: 1\r\n\n`),
  row('cut', 'trailers that are none', `${CHUNKED}2\r\nok\r\n0\r\nnonsense\r\n\r\n`),
  row('cut', 'a folded trailer', `${CHUNKED}2\r\nok\r\n0\r\nX: a\r\n b\r\n\r\n`),
  row('cut', 'trailers of 70 kB', `${CHUNKED}2\r\nok\r\n0\r\nX: ${'v'.repeat(70_000)}\r\n\r\n`),
  row('cut', 'a body that is shorter than it says', `${OK}Content-Length: 3\r\n\r\nok`, 'close'),
  row('cut', 'a body that is reset', [`${OK}Content-Length: 3\r\n\r\nok`], 'reset'),

  ...[...WHOLE].map((_, at) =>
    row(at < WHOLE.indexOf('\r\n\r\n') + 4 ? 'lost' : 'cut', `cut behind ${at} bytes`, WHOLE.slice(0, at), 'close'),
  ),
]

const METHODS: [name: string, head: string, body: string][] = [
  ['GET', 'GET', '\r\n'],
  ['HEAD', 'HEAD', '\r\n'],
  ['OPTIONS', 'OPTIONS', '\r\n'],
  ['POST with a length', 'POST', 'Content-Length: 3\r\n\r\nabc'],
  ['POST in chunks', 'POST', 'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'],
  ['PUT with a body', 'PUT', 'Content-Length: 3\r\n\r\nabc'],
  ['DELETE with a body', 'DELETE', 'Content-Length: 3\r\n\r\nabc'],
  ['GET with a body', 'GET', 'Content-Length: 3\r\n\r\nabc'],
]

/** Less than any deadline of the router, more than a busy machine needs. */
const HUNG_MS = 20_000

class Client {
  readonly socket: Socket
  text = ''
  closed = false
  private wake: () => void = () => undefined

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('data', (chunk) => {
      this.text += chunk.toString('latin1')
      this.wake()
    })
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => {
      this.closed = true
      this.wake()
    })
  }

  /** @returns what is there when the answer is whole or the connection is at its end */
  async answer(bytes: string, isHead = false) {
    this.text = ''
    this.socket.write(bytes, 'latin1')
    const deadline = performance.now() + HUNG_MS
    for (;;) {
      const read = readAnswer(this.text, isHead)
      if (this.closed || read?.whole) return read
      if (performance.now() > deadline) return 'hung'
      await new Promise<void>((resolve) => {
        this.wake = resolve
        setTimeout(resolve, 1000)
      })
    }
  }
}

describe('one reading, one verdict, whatever the method', () => {
  const origins = [new RawOrigin(), new RawOrigin()]
  let router: RouterProcess
  const seen = (part: string) => origins.reduce((sum, origin) => sum + origin.count(part), 0)

  beforeAll(async () => {
    for (const origin of origins) {
      await origin.listen()
      origin.answers = ({ target }) => {
        const number = /^\/row\/(\d+)/.exec(target)?.[1]
        if (number !== undefined) return (ROWS[Number(number)] as Row).answer
        return { pieces: [`HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`] }
      }
    }
    const names = origins.map((origin, i) => ({ name: `raw${i}`, address: origin.address }))
    router = await startRouter({ routes: table(1, app('app', names, { affinity: false })), args: ['--processes', '1'] })
  })
  afterAll(async () => {
    await router?.stop()
    await Promise.all(origins.map((origin) => origin.close()))
  })

  it.each(METHODS)(
    'R13.2 %s: each answer gets its verdict at once, is asked for no more often than it may, and is taken for no other',
    async (...method) => {
      const [name, verb, body] = method
      const isHead = verb === 'HEAD'
      const repeatable = body === '\r\n'
      const wrong: unknown[] = []
      for (const [i, { name: rowName, verdict }] of ROWS.entries()) {
        const client = new Client(router.port)
        const mark = `/row/${i}?${encodeURIComponent(name)}`
        const read = await client.answer(`${verb} ${mark} HTTP/1.1\r\nHost: app.localhost\r\n${body}`, isHead)
        const expected = verdict === 'cut' && isHead ? 'passes' : verdict
        const found =
          read === 'hung' || read === null
            ? `${read}`
            : read.headers.includes('x-coppice-router: upstreamfailed')
              ? `502 ${read.status} ${read.whole}`
              : `${read.status} ${read.whole ? `whole ${read.body}` : 'cut'}`
        const wanted = {
          passes: `200 whole ${isHead ? '' : 'ok'}`,
          '502': '502 502 true',
          lost: '502 502 true',
          cut: '200 cut',
        }[expected]
        const runs = seen(mark)
        const allowed = expected === 'lost' && repeatable ? 2 : 1
        if (found !== wanted || runs !== allowed) wrong.push([rowName, found, wanted, runs, allowed])
        // On the same connection if it goes on, and on others: each gets its own answer.
        for (const other of [client.closed ? new Client(router.port) : client, new Client(router.port)]) {
          const path = `/next/${i}/${encodeURIComponent(name)}`
          const next = await other.answer(`GET ${path} HTTP/1.1\r\nHost: app.localhost\r\n\r\n`)
          if (next === 'hung' || next?.body !== path) wrong.push([rowName, 'the next one got', next])
          other.socket.destroy()
        }
      }
      expect(wrong).toEqual([])
      for (const origin of origins) {
        expect(origin.objections).toEqual([])
        // What arrived is what was sent, with the body that belongs to it.
        const sent = repeatable ? '' : 'abc'
        expect(origin.seen.filter(({ target, body: got }) => target.startsWith('/row') && got !== sent)).toEqual([])
        origin.seen.length = 0
      }
    },
  )
})
