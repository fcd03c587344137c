/** The logs of instances, read from the files that the worker's provider has them write. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { StringDecoder } from 'node:string_decoder'

export type InstanceLogsOptions = {
  /** Directory with `<instance>.log` files; the worker's provider writes them there. */
  directory: string
  /** The last `count` lines of a log; none when there is no log. */
  lastLines: (path: string, count: number) => Promise<string[]>
  /** The same without a line that is half written, and the offset at which that begins. */
  lastWholeLines: (path: string, count: number) => Promise<{ lines: string[]; end: number }>
  /** What is in a log from `position` on, at most `length` bytes; one that is not there is empty, no log an error. */
  readLog: (path: string, position: number, length: number) => Promise<Buffer>
  /** In bytes, the same. */
  logSize: (path: string) => Promise<number>
  /** How often a log that is followed is looked at, in ms. */
  pollMs?: number
}

/** A log from some place on; not for two readers at a time. */
export type FollowedLog = {
  /** The lines that have been written since the last call, or as many as one call reads; none when there is nothing new. */
  more(): Promise<string[]>
}

export class InstanceLogs {
  readonly pollMs: number
  readonly #options: InstanceLogsOptions
  /** The last look at the size of each file, which all who follow it share. */
  readonly #sizes = new Map<string, { at: number; size: Promise<number> }>()

  constructor(options: InstanceLogsOptions) {
    this.#options = options
    this.pollMs = options.pollMs ?? 200
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

  /** Begins with the last `lines` of what is there. */
  async follow(instance: string, { lines }: { lines: number }): Promise<FollowedLog> {
    const { lines: past, end } = await this.#options.lastWholeLines(this.#path(instance), lines)
    let unread = past
    let decoder = new StringDecoder('utf8')
    let rest = ''
    let offset = end
    return {
      more: async () => {
        if (unread.length > 0) return unread.splice(0, MAX_LINES)
        const size = await this.#size(instance)
        // Rotated by copy and truncate: it goes on at the beginning.
        if (size < offset) {
          offset = 0
          rest = ''
          decoder = new StringDecoder('utf8')
        }
        if (size === offset) return []
        const chunk = await this.#options.readLog(this.#path(instance), offset, Math.min(size - offset, READ_BYTES))
        offset += chunk.length
        const written = (rest + decoder.write(chunk)).split('\n')
        rest = written.pop() ?? ''
        if (rest.length > MAX_LINE_CHARS) {
          written.push(rest)
          rest = ''
        }
        unread = written.map((line) => line.replace(/\r$/, ''))
        return unread.splice(0, MAX_LINES)
      },
    }
  }

  #size(instance: string): Promise<number> {
    const now = performance.now()
    const known = this.#sizes.get(instance)
    if (known !== undefined && now - known.at < this.pollMs / 2) return known.size
    const size = this.#options.logSize(this.#path(instance))
    // Those of logs that nobody follows any more go.
    if (known === undefined)
      for (const [id, { at }] of this.#sizes) if (now - at > FORGET_SIZE_MS) this.#sizes.delete(id)
    this.#sizes.set(instance, { at: now, size })
    return size
  }

  #path(instance: string): string {
    return join(this.#options.directory, `${instance}.log`)
  }
}

const READ_BYTES = 64 * 1024
/** Of one call: many short lines take longer than few long ones. */
const MAX_LINES = 1_000
const MAX_LINE_CHARS = 64 * 1024
const FORGET_SIZE_MS = 60_000

/** Whether `id` is one of `app`'s; the only ids that ever become part of a path. See `instanceId` in domain/names.ts. */
export const isInstanceOf = (app: string, id: string): boolean =>
  id.startsWith(`${app}-`) && /^[0-9A-Za-z]{1,8}-\d{1,2}$/.test(id.slice(app.length + 1))
