import type { Socket } from 'node:net'

/** A socket with what net keeps of it, and a tunnel's mark. */
type Client = Socket & { _handle?: { writeQueueSize?: number } | null; tunnel?: object }
/** What a client had taken when it was looked at: bytes of whole writes, and of the one under way those that remain. */
type Seen = { taken: number; left: number; since: number }

/**
 * Cuts off clients that take nothing of what waits for them, whatever wrote it: an answer under way, one that has ended
 * on the side of the instance, the router's own, the end of a WebSocket. Looked after from time to time for all
 * connections of a listener, which costs a request nothing. A WebSocket that has not ended may wait for its client.
 */
export class ClientStalls {
  private readonly clients = new Set<Client>()
  /** Only those for whom something waits. */
  private readonly waiting = new Map<Client, Seen>()
  private readonly stallMs: number
  private timer: NodeJS.Timeout | null = null
  private lookedAt = 0

  /** @param stallMs how long a client may take nothing; 0 for any time */
  constructor(stallMs: number) {
    this.stallMs = stallMs
  }

  watch(socket: Socket): void {
    if (this.stallMs === 0) return
    this.clients.add(socket)
    socket.once('close', () => this.forget(socket))
    if (this.timer !== null) return
    this.lookedAt = performance.now()
    this.timer = setInterval(() => this.look(), this.stallMs / 4).unref()
  }

  private forget(socket: Client): void {
    this.clients.delete(socket)
    this.waiting.delete(socket)
    if (this.clients.size > 0 || this.timer === null) return
    clearInterval(this.timer)
    this.timer = null
  }

  private look(): void {
    const now = performance.now()
    // This process itself did not run: what clients took in the meantime has to be seen before anybody is called late.
    if (now - this.lookedAt > this.stallMs) this.waiting.clear()
    this.lookedAt = now
    for (const client of this.clients) {
      const isOpenTunnel = client.tunnel !== undefined && !client.writableEnded
      if (client.writableLength === 0 || isOpenTunnel) {
        this.waiting.delete(client)
        continue
      }
      const taken = client.bytesWritten - client.writableLength
      const left = client._handle?.writeQueueSize ?? 0
      const seen = this.waiting.get(client)
      if (seen === undefined || seen.taken !== taken || seen.left !== left)
        this.waiting.set(client, { taken, left, since: now })
      else if (now - seen.since >= this.stallMs) client.destroy()
    }
  }
}
