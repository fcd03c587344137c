/**
 * The history of events for any number of followers. What is new is read once for all of them and kept for a while;
 * who is further behind reads batches from the inventory, which followers in the same place share too.
 */
import type { HistoryEvent } from '../domain/records.ts'
import type { EventFilter, Events } from '../store/events.ts'
import type { Changes } from './changes.ts'
import { eventText } from './event-stream.ts'
import type { Turns } from './turns.ts'

/** What comes next for a follower, as it goes over the wire; nothing when none of it passes its filter. */
export type EventPage = { bytes: Buffer; last: number }

type Told = { seq: number; app: string; operation: string | null; bytes: Buffer }

/** An event can carry the last lines of a log, so what one look reads is bounded by both. */
const BATCH = { limit: 200, maxBytes: 256 * 1024 }
/** How many numbers a look goes through: with a filter there can be many between two events. */
const LOOK_ACROSS = 5_000
/** Of what is new, for those who are nearly up to date. */
const RECENT = { count: 1_000, bytes: 2 * 1024 * 1024 }
/** Full batches, for those who follow each other through the past. */
const KEPT_PAGES = 64

export class EventFeed {
  readonly #events: Pick<Events, 'page' | 'lastPast' | 'firstSeq' | 'lastSeq'>
  readonly #changes: Changes
  readonly #turns: Turns
  /** Everything between `#from` and `#head`, oldest first. */
  #recent: Told[] = []
  #recentBytes = 0
  #from = 0
  #head = 0
  #seen = -1
  #refreshing: Promise<void> | null = null
  readonly #pages = new Map<string, Promise<EventPage>>()

  constructor(events: Pick<Events, 'page' | 'lastPast' | 'firstSeq' | 'lastSeq'>, changes: Changes, turns: Turns) {
    this.#events = events
    this.#changes = changes
    this.#turns = turns
  }

  /** Where a follower begins that has seen everything up to now. */
  head(): Promise<number> {
    return this.#events.lastSeq()
  }

  /** Waits for what comes after `cursor`. Throws the signal's reason. */
  async next(cursor: number, filter: EventFilter, signal: AbortSignal): Promise<EventPage> {
    for (;;) {
      await this.#turns.next()
      signal.throwIfAborted()
      await this.#refresh()
      if (cursor < this.#from) return this.#stored(cursor, filter)
      if (cursor < this.#head) return this.#fromRecent(cursor, filter)
      await this.#changes.past(this.#seen, signal)
    }
  }

  /** Reads what is new since the last time, once for all who ask meanwhile. */
  #refresh(): Promise<void> {
    if (this.#seen === this.#changes.count) return Promise.resolve()
    this.#refreshing ??= this.#readNew().finally(() => {
      this.#refreshing = null
    })
    return this.#refreshing
  }

  async #readNew(): Promise<void> {
    const { count } = this.#changes
    const last = await this.#events.lastSeq()
    const past = await this.#events.lastPast({ ...RECENT, count: Math.min(RECENT.count, last - this.#head) })
    // Nobody has followed for a while, or very much has happened: the past is read by those who want it.
    if (past > this.#head || last < this.#head) {
      this.#recent = []
      this.#recentBytes = 0
      this.#from = last
      this.#head = last
    }
    while (this.#head < last) {
      const { events, to } = await this.#events.page(this.#head, { upTo: last, ...BATCH })
      for (const event of events) this.#remember(event)
      this.#head = to
      if (this.#head < last) await this.#turns.next()
    }
    this.#seen = count
  }

  #remember(event: HistoryEvent): void {
    const bytes = bytesOf(event)
    this.#recent.push({ seq: event.seq, app: event.app, operation: event.operation, bytes })
    this.#recentBytes += bytes.length
    while (this.#recent.length > RECENT.count || this.#recentBytes > RECENT.bytes) {
      const oldest = this.#recent.shift() as Told
      this.#recentBytes -= oldest.bytes.length
      this.#from = oldest.seq
    }
  }

  #fromRecent(cursor: number, filter: EventFilter): EventPage {
    const parts: Buffer[] = []
    let size = 0
    for (const told of this.#recent) {
      if (told.seq <= cursor || !passes(told, filter)) continue
      parts.push(told.bytes)
      size += told.bytes.length
      if (size > BATCH.maxBytes) return { bytes: Buffer.concat(parts), last: told.seq }
    }
    return { bytes: Buffer.concat(parts), last: this.#head }
  }

  #stored(cursor: number, filter: EventFilter): Promise<EventPage> {
    const key = `${cursor} ${filter.app ?? ''} ${filter.operation ?? ''}`
    const kept = this.#pages.get(key)
    const page = kept ?? this.#read(cursor, filter)
    // The oldest to have been asked for goes first.
    this.#pages.delete(key)
    this.#pages.set(key, page)
    if (this.#pages.size > KEPT_PAGES) this.#pages.delete(this.#pages.keys().next().value as string)
    page.catch(() => this.#pages.delete(key))
    return page
  }

  async #read(cursor: number, filter: EventFilter): Promise<EventPage> {
    // What has been trimmed away need not be looked through.
    const from = Math.max(cursor, (await this.#events.firstSeq()) - 1)
    // What lies behind `#from` no longer changes, so a page of it stays true.
    const upTo = Math.min(from + LOOK_ACROSS, this.#from)
    const { events, to } = await this.#events.page(from, { ...filter, upTo, ...BATCH })
    return { bytes: Buffer.concat(events.map(bytesOf)), last: Math.max(to, cursor) }
  }
}

const bytesOf = (event: HistoryEvent): Buffer =>
  Buffer.from(eventText({ id: String(event.seq), event: event.kind, data: event }))

const passes = (told: Told, { app, operation }: EventFilter): boolean =>
  (app === undefined || told.app === app) && (operation === undefined || told.operation === operation)
