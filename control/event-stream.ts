/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): one writer for all streams. */
import type { Request, Response } from 'express'
import type { ChangeWatch } from '../store/watch.ts'

export type ServerEvent = { id?: string; event: string; data: unknown }

export type EventStream = {
  send(event: ServerEvent): void
  /** Aborted when the client has gone, reads too slowly, or the control plane stops. */
  readonly closed: AbortSignal
  close(): void
}

export type StreamOptions = {
  /** How often a silent stream says that it lives, in ms. Routers take three silent seconds for a death. */
  keepAliveMs?: number
  /** Aborted when the control plane stops. */
  stopping: AbortSignal
}

/** What a client that does not read may leave in memory before it is cut off; it can come back with Last-Event-ID. */
const MAX_BACKLOG_BYTES = 8 * 1024 * 1024

export function openEventStream(request: Request, response: Response, options: StreamOptions): EventStream {
  const gone = new AbortController()
  response.status(200).set({
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-store',
    // nginx buffers otherwise.
    'X-Accel-Buffering': 'no',
  })
  request.socket.setNoDelay(true)
  response.flushHeaders()
  const write = (text: string) => {
    if (gone.signal.aborted) return
    response.write(text)
    if (response.writableLength > MAX_BACKLOG_BYTES) response.destroy()
  }
  const keepAlive = setInterval(() => write(':\n\n'), options.keepAliveMs ?? 1_500)
  const close = () => {
    clearInterval(keepAlive)
    options.stopping.removeEventListener('abort', close)
    response.end()
    gone.abort()
  }
  response.once('close', close)
  options.stopping.addEventListener('abort', close)
  if (options.stopping.aborted) close()
  return {
    // JSON.stringify leaves no line break in `data`.
    send: ({ id, event, data }) =>
      write(`${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`),
    closed: gone.signal,
    close,
  }
}

/**
 * Runs `look` at once and after every change of the inventory until the stream is closed; changes that come while it
 * runs make it run once more.
 */
export async function onEveryChange(watch: ChangeWatch, closed: AbortSignal, look: () => Promise<void>): Promise<void> {
  await watch
    .until(async () => {
      await look()
      return closed.aborted ? true : null
    }, closed)
    .catch((error: unknown) => {
      if (!closed.aborted) throw error
    })
}
