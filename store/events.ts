/** What happened, in the order in which it happened: the source of the server-sent events and of the history. */
import { setImmediate } from 'node:timers/promises'
import { sql } from 'kysely'
import type { HistoryEvent } from '../domain/records.ts'
import { type Db, type StoreContext, write } from './context.ts'
import { fitting } from './fitting.ts'
import { toEvent } from './rows.ts'

export type NewEvent = Pick<HistoryEvent, 'app' | 'kind' | 'message'> &
  Partial<Pick<HistoryEvent, 'operation' | 'instance' | 'data'>>

/** Adds an event to the transaction that does what it tells of. */
export async function addEvent(context: StoreContext, tx: Db, event: NewEvent): Promise<void> {
  await tx
    .insertInto('events')
    .values({
      at: context.now(),
      app: event.app,
      operation: event.operation ?? null,
      instance: event.instance ?? null,
      kind: event.kind,
      message: event.message,
      data: event.data == null ? null : JSON.stringify(event.data),
    })
    .execute()
}

export type EventFilter = { app?: string; operation?: string }

export type EventBounds = {
  /** The newest so many … */
  count: number
  /** … and of these the newest that have so many bytes together. */
  bytes: number
}

/** A piece of the history. */
export type EventPage = {
  events: HistoryEvent[]
  /** The number up to which the piece goes: what passes the filter and is not behind it is in `events`. */
  to: number
}

/** Rows of which one query tells the sizes, some ms. */
const LOOK_AT_ONCE = 1_000
/** Some ms of a transaction, also where each has the last lines of a log. */
const TRIM_AT_ONCE = 200

/** Tells the size from the header of the row; the text itself is not read. */
const BYTES = sql<number>`octet_length(message) + coalesce(octet_length(data), 0)`

export class Events {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  add(event: NewEvent): Promise<void> {
    return write(this.#context, (tx) => addEvent(this.#context, tx, event))
  }

  /** Events after `seq` and not after `upTo`, oldest first. */
  async after(seq: number, options: EventFilter & { upTo?: number; limit?: number } = {}): Promise<HistoryEvent[]> {
    return (await this.#after(seq, options).selectAll().execute()).map(toEvent)
  }

  /**
   * The same as far as they fit into `maxBytes` and `limit`, and at least one. What does not fit is not read: one event can
   * have the last lines of a log, and hundreds of those take long.
   */
  async page(
    seq: number,
    options: EventFilter & { upTo: number; limit: number; maxBytes: number },
  ): Promise<EventPage> {
    const sizes = await this.#after(seq, options)
      .select(['seq', BYTES.as('bytes')])
      .execute()
    const taken = sizes.slice(0, fitting(sizes, options.maxBytes))
    const whole = taken.length === sizes.length && sizes.length < options.limit
    const to = whole ? options.upTo : (taken.at(-1) as { seq: number }).seq
    return { events: taken.length === 0 ? [] : await this.after(seq, { ...options, upTo: to }), to }
  }

  #after(seq: number, { app, operation, upTo, limit = 500 }: EventFilter & { upTo?: number; limit?: number }) {
    let query = this.#context.db.selectFrom('events').where('seq', '>', seq).orderBy('seq').limit(limit)
    if (upTo !== undefined) query = query.where('seq', '<=', upTo)
    if (app !== undefined) query = query.where('app', '=', app)
    if (operation !== undefined) query = query.where('operation', '=', operation)
    return query
  }

  /** Of the oldest that is kept; 0 when there is none. */
  firstSeq(): Promise<number> {
    return this.#seq('min')
  }

  lastSeq(): Promise<number> {
    return this.#seq('max')
  }

  /** One at a time: asked for both, SQLite reads the whole table. */
  async #seq(which: 'min' | 'max'): Promise<number> {
    const row = await this.#context.db
      .selectFrom('events')
      .select(({ fn }) => fn[which]('seq').as('seq'))
      .executeTakeFirst()
    return Number(row?.seq ?? 0)
  }

  /** Keeps the newest events (R14.4), in pieces, because whoever else wants to write waits for each. */
  async trim(bounds: EventBounds): Promise<void> {
    const past = await this.lastPast(bounds)
    for (;;) {
      const removed = await write(this.#context, (tx) =>
        tx
          .deleteFrom('events')
          .where(
            'seq',
            'in',
            tx.selectFrom('events').select('seq').where('seq', '<=', past).orderBy('seq').limit(TRIM_AT_ONCE),
          )
          .executeTakeFirst(),
      )
      if (removed.numDeletedRows < TRIM_AT_ONCE) return
    }
  }

  /** The newest that is past the bounds; what is behind it is within. */
  async lastPast({ count, bytes }: EventBounds): Promise<number> {
    const last = await this.lastSeq()
    const past = Math.max(0, last - count)
    let room = bytes
    for (let before = last + 1; ; ) {
      const rows = await this.#context.db
        .selectFrom('events')
        .select(['seq', BYTES.as('bytes')])
        .where('seq', '>', past)
        .where('seq', '<', before)
        .orderBy('seq', 'desc')
        .limit(LOOK_AT_ONCE)
        .execute()
      for (const row of rows) {
        room -= row.bytes
        if (room < 0) return row.seq
        before = row.seq
      }
      if (rows.length < LOOK_AT_ONCE) return past
      // Whatever else the process has to do comes in between.
      await setImmediate()
    }
  }
}
