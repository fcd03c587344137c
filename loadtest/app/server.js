// The app of the load tests: says who answers, and writes down every attempt it began to execute.
//
//   /?slow=300&attempt=a.1.1   JSON, after 300 ms
//   /block?ms=6000             JSON, after the whole instance was blocked for so long
//   /events?count=3            server-sent events, one each 100 ms, then the end
//   any upgrade                a WebSocket that says who it is and echoes text
//
//   APP_VERSION        what it calls its version
//   LOADTEST_JOURNAL   folder for the journal; one file an instance, one line an attempt: id, method, time, and
//                      whether the routing cookie came along, which routers are to keep to themselves
import { createHash } from 'node:crypto'
import { openSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'

const { COPPICE_APP, COPPICE_INSTANCE_ID, COPPICE_SLOT, COPPICE_DEPLOYMENT, LOADTEST_JOURNAL } = process.env
const port = Number(process.env.DATABRICKS_APP_PORT ?? 8000)
const instance = COPPICE_INSTANCE_ID ?? 'local'
// Appended with one system call a line, so that SIGKILL loses none: the kernel has it already.
const journal = LOADTEST_JOURNAL ? openSync(join(LOADTEST_JOURNAL, instance), 'a') : null
let count = 0

const facts = () => ({
  app: COPPICE_APP ?? 'loadtest',
  instance,
  slot: Number(COPPICE_SLOT ?? 0),
  deployment: COPPICE_DEPLOYMENT ?? 'none',
  version: process.env.APP_VERSION ?? '1',
  count,
  pid: process.pid,
})

const ROUTING_COOKIE = /(?:^|;\s*)(?:__Host-databricks-app-router|coppice-router-[^=]*)=/

function record(url, { method, headers }) {
  const attempt = url.searchParams.get('attempt')
  if (journal !== null && attempt !== null) {
    const cookie = ROUTING_COOKIE.test(headers.cookie ?? '') ? 'cookie' : '-'
    writeSync(journal, `${attempt} ${method} ${Date.now()} ${cookie}\n`)
  }
  return attempt
}

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://app')
  // Checks of the router ask without an attempt; they are not counted.
  const attempt = record(url, request)
  if (attempt !== null) count += 1
  response.setHeader('Cache-Control', 'no-store')
  if (url.pathname === '/block') block(Math.min(Number(url.searchParams.get('ms') ?? 6_000), 60_000))
  if (url.pathname === '/events') return sendEvents(response, Number(url.searchParams.get('count') ?? 3))
  let bytes = 0
  request.on('data', (chunk) => {
    bytes += chunk.length
  })
  request.on('end', () => {
    setTimeout(
      () => {
        response.setHeader('Content-Type', 'application/json')
        response.end(`${JSON.stringify({ ...facts(), attempt, bytes })}\n`)
      },
      Math.min(Number(url.searchParams.get('slow') ?? 0), 60_000),
    )
  })
})

/** As `time.sleep` in an `async def` of Python: until it returns, this process does nothing else. */
function block(ms) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

function sendEvents(response, events) {
  response.setHeader('Content-Type', 'text/event-stream')
  let sent = 0
  const timer = setInterval(() => {
    sent += 1
    response.write(`data: ${JSON.stringify(facts())}\n\n`)
    if (sent < events) return
    clearInterval(timer)
    response.end()
  }, 100)
  response.on('close', () => clearInterval(timer))
}

// RFC 6455, as far as a text echo needs it: unfragmented text, close, ping.
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const TEXT = 1
const CLOSE = 8
const PING = 9
const PONG = 10

server.on('upgrade', (request, socket, head) => {
  record(new URL(request.url, 'http://app'), request)
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}${GUID}`).digest('base64')
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  )
  socket.on('error', () => socket.destroy())
  send(socket, TEXT, Buffer.from(JSON.stringify(facts())))
  let rest = head
  const take = (chunk) => {
    rest = readFrames(Buffer.concat([rest, chunk]), (opcode, payload) => {
      if (opcode === TEXT) send(socket, TEXT, Buffer.from(JSON.stringify({ ...facts(), echo: payload.toString() })))
      else if (opcode === PING) send(socket, PONG, payload)
      else if (opcode === CLOSE) {
        send(socket, CLOSE, payload)
        socket.end()
      }
    })
  }
  take(Buffer.alloc(0))
  socket.on('data', take)
})

/** Returns what is left over: the beginning of a frame that has not come whole. */
function readFrames(bytes, onFrame) {
  let at = 0
  for (;;) {
    if (bytes.length < at + 2) break
    let length = bytes[at + 1] & 0x7f
    let body = at + 2
    if (length === 126) {
      if (bytes.length < at + 4) break
      length = bytes.readUInt16BE(at + 2)
      body = at + 4
    } else if (length === 127) {
      if (bytes.length < at + 10) break
      length = Number(bytes.readBigUInt64BE(at + 2))
      body = at + 10
    }
    // Clients mask (RFC 6455 5.3).
    const mask = bytes.subarray(body, body + 4)
    body += 4
    if (bytes.length < body + length) break
    const payload = Buffer.from(bytes.subarray(body, body + length))
    for (let i = 0; i < length; i++) payload[i] ^= mask[i & 3]
    onFrame(bytes[at] & 0x0f, payload)
    at = body + length
  }
  return bytes.subarray(at)
}

function send(socket, opcode, payload) {
  const head =
    payload.length < 126
      ? Buffer.from([0x80 | opcode, payload.length])
      : Buffer.from([0x80 | opcode, 126, payload.length >> 8, payload.length & 0xff])
  socket.write(Buffer.concat([head, payload]))
}

server.listen(port, '0.0.0.0', () => console.log(`version ${facts().version} listens on 0.0.0.0:${port}`))

// The worst that an app may do: it is gone at once, with whatever it had in flight. An instance is told to stop only when
// it has nothing left to do (R6.2), so nobody may notice.
process.on('SIGTERM', () => process.exit(0))
