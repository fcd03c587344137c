import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { WebSocketServer } from 'ws'

/**
 * The app behind every proxy of the bench, as cheap as it can be: answers are ready-made bytes. `/small` 512 bytes,
 * `/64k`, `/1m`; a POST is read and answered; `/ws` echoes, by way of a real server on a second port.
 */
const body = (size: number) => {
  const head = `HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nDate: ${new Date().toUTCString()}\r\nETag: "5f3-18c"\r\nCache-Control: no-cache\r\nX-Frame-Options: DENY\r\nContent-Length: ${size}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), Buffer.alloc(size, 'x')])
}
const SMALL = body(512)
const K64 = body(65_536)
const M1 = body(1 << 20)

const web = createServer()
const sockets = new WebSocketServer({ server: web })
sockets.on('connection', (ws) => ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary })))

/** Knows just enough HTTP for what proxies send: one request at a time, bodies by length or chunked. */
function serve(socket: Socket): void {
  socket.setNoDelay(true)
  let head = ''
  let left = 0
  let chunked = false
  let answer = SMALL
  let tail = ''
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk: Buffer) => {
    if (left > 0) {
      left -= chunk.length
      if (left <= 0) socket.write(answer)
      return
    }
    if (chunked) {
      tail = (tail + chunk.subarray(-8).toString('latin1')).slice(-8)
      if (tail.endsWith('0\r\n\r\n')) {
        chunked = false
        socket.write(answer)
      }
      return
    }
    head += chunk.toString('latin1')
    const end = head.indexOf('\r\n\r\n')
    if (end === -1) return
    if (/^upgrade:/im.test(head.slice(0, end))) {
      socket.removeAllListeners('data')
      web.emit('connection', socket)
      socket.unshift(Buffer.from(head, 'latin1'))
      return
    }
    const path = head.slice(head.indexOf(' ') + 1, head.indexOf(' ', head.indexOf(' ') + 1))
    answer = path.startsWith('/64k') ? K64 : path.startsWith('/1m') ? M1 : SMALL
    const length = /\r\ncontent-length: ?(\d+)/i.exec(head.slice(0, end))
    const rest = head.length - end - 4
    chunked = /\r\ntransfer-encoding: ?chunked/i.test(head.slice(0, end))
    if (length !== null) left = Number(length[1]) - rest
    if (chunked) {
      tail = head.slice(end + 4).slice(-8)
      if (tail.endsWith('0\r\n\r\n')) chunked = false
    }
    head = ''
    if (left <= 0 && !chunked) socket.write(answer)
  })
}

const server = createTcpServer(serve)
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
