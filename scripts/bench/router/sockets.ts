import { connect, type Socket } from 'node:net'
import { WebSocket } from 'ws'
import { residentBytes } from './machine.ts'

/** Opens idle WebSockets, as raw sockets because the client pays for them too; resolves when each got its 101. */
export async function openIdle(port: number, count: number): Promise<Socket[]> {
  const handshake =
    'GET /ws HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
  const sockets: Socket[] = []
  while (sockets.length < count) {
    const batch = Array.from({ length: Math.min(100, count - sockets.length) }, async () => {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => undefined)
      socket.write(handshake)
      await new Promise<void>((resolve, reject) => {
        socket.once('data', (chunk) =>
          String(chunk).startsWith('HTTP/1.1 101') ? resolve() : reject(new Error(String(chunk))),
        )
        socket.once('close', () => reject(new Error('closed')))
      })
      socket.removeAllListeners('close')
      socket.pause()
      return socket
    })
    sockets.push(...(await Promise.all(batch)))
  }
  return sockets
}

/** Looks at memory before and after, a second apart. */
const LOOKS = 5

/**
 * Bytes of the proxy for each idle WebSocket: both its sockets and all that belongs to them.
 * @param peer one that collects its garbage at SIGUSR2 (test/crash/collect-on-signal.mjs)
 */
export async function idleSocketBytes(peer: { port: number; pids: number[] }, count: number): Promise<number> {
  // What is allocated once, and what the first connections warm up, is not theirs.
  const warm = await openIdle(peer.port, count / 2)
  const before = await heldBytes(peer.pids)
  const sockets = await openIdle(peer.port, count)
  const after = await heldBytes(peer.pids)
  for (const socket of [...warm, ...sockets]) socket.destroy()
  return (after - before) / count
}

/** The least that was resident while everything was collected, once a second. */
async function heldBytes(pids: number[]): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let look = 0; look < LOOKS; look++) {
    for (const pid of pids) process.kill(pid, 'SIGUSR2')
    await new Promise((resolve) => setTimeout(resolve, 1000))
    least = Math.min(least, residentBytes(pids))
  }
  return least
}

/** Messages a second that come back over a number of WebSockets, each sent when the one before has returned. */
export async function echoPerSecond(port: number, connections: number, seconds: number): Promise<number> {
  let echoes = 0
  let running = true
  const sockets = await Promise.all(
    Array.from({ length: connections }, async () => {
      const ws = new WebSocket(`ws://127.0.0.1:${port}/ws`, {
        headers: { host: 'app.localhost' },
        perMessageDeflate: false,
      })
      await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject))
      ws.on('message', (data) => {
        echoes++
        if (running) ws.send(data)
      })
      return ws
    }),
  )
  const message = Buffer.alloc(128, 'm')
  for (const ws of sockets) ws.send(message)
  await new Promise((resolve) => setTimeout(resolve, 500))
  const before = echoes
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  const counted = echoes - before
  running = false
  for (const ws of sockets) ws.terminate()
  return counted / seconds
}
