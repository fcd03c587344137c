/** The logs of instances, read from the files that the worker's provider has them write. */
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { StringDecoder } from 'node:string_decoder'

export type InstanceLogsOptions = {
  /** Directory with `<instance>.log` files; the worker's provider writes them there. */
  directory: string
  /** The last `count` lines of a log; none when there is no log. */
  lastLines: (path: string, count: number) => Promise<string[]>
  /** The same without a line that is half written, and the offset at which that begins. */
  lastWholeLines: (path: string, count: number) => Promise<{ lines: string[]; end: number }>
  /** How often a log that is followed is looked at, in ms. */
  pollMs?: number
}

export class InstanceLogs {
  readonly #options: InstanceLogsOptions

  constructor(options: InstanceLogsOptions) {
    this.#options = options
  }

  /** Ids of the instances of `app` that left a log, also those that are gone. */
  async instances(app: string): Promise<string[]> {
    const names = await readdir(this.#options.directory).catch(() => [])
    const ids = names.filter((name) => name.endsWith('.log')).map((name) => name.slice(0, -'.log'.length))
    return ids.filter((id) => isInstanceOf(app, id)).sort()
  }

  lastLines(instance: string, count: number): Promise<string[]> {
    return this.#options.lastLines(this.#path(instance), count)
  }

  /** Calls back with the last `lines` and then with each one that is written, until the signal is aborted. */
  async follow(
    instance: string,
    { signal, lines }: { signal: AbortSignal; lines: number },
    onLine: (line: string) => void,
  ): Promise<void> {
    let decoder = new StringDecoder('utf8')
    let rest = ''
    const past = await this.#options.lastWholeLines(this.#path(instance), lines)
    let offset = past.end
    for (const line of past.lines) onLine(line)
    while (!signal.aborted) {
      await pause(this.#options.pollMs ?? 200, signal)
      const size = await this.#size(instance)
      // Rotated by copy and truncate: it goes on at the beginning.
      if (size < offset) {
        offset = 0
        rest = ''
        decoder = new StringDecoder('utf8')
      }
      while (offset < size && !signal.aborted) {
        const chunk = await this.#read(instance, offset, Math.min(size - offset, READ_BYTES))
        if (chunk.length === 0) break
        offset += chunk.length
        const written = (rest + decoder.write(chunk)).split('\n')
        rest = written.pop() ?? ''
        for (const line of written) onLine(line.replace(/\r$/, ''))
        if (rest.length > MAX_LINE_CHARS) {
          onLine(rest)
          rest = ''
        }
      }
    }
  }

  async #size(instance: string): Promise<number> {
    const file = await open(this.#path(instance)).catch(() => null)
    if (file === null) return 0
    return file
      .stat()
      .then((found) => found.size)
      .finally(() => file.close())
  }

  async #read(instance: string, offset: number, bytes: number): Promise<Buffer> {
    const file = await open(this.#path(instance)).catch(() => null)
    if (file === null) return Buffer.alloc(0)
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, offset)
      return buffer.subarray(0, bytesRead)
    } finally {
      await file.close()
    }
  }

  #path(instance: string): string {
    return join(this.#options.directory, `${instance}.log`)
  }
}

const READ_BYTES = 64 * 1024
const MAX_LINE_CHARS = 64 * 1024

/** Whether `id` is one of `app`'s; the only ids that ever become part of a path. See `instanceId` in domain/names.ts. */
export const isInstanceOf = (app: string, id: string): boolean =>
  id.startsWith(`${app}-`) && /^[0-9A-Za-z]{1,8}-\d{1,2}$/.test(id.slice(app.length + 1))

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done, { once: true })
  })
}
