/** What happened, in the order in which it happened: the source of the server-sent events and of the history. */
import type { HistoryEvent } from '../domain/records.ts'
import { type Db, type StoreContext, write } from './context.ts'
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

export class Events {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  add(event: NewEvent): Promise<void> {
    return write(this.#context, (tx) => addEvent(this.#context, tx, event))
  }

  /** Events after `seq` and not after `upTo`, oldest first. */
  async after(
    seq: number,
    options: { app?: string; operation?: string; upTo?: number; limit?: number } = {},
  ): Promise<HistoryEvent[]> {
    let query = this.#context.db.selectFrom('events').selectAll().where('seq', '>', seq).orderBy('seq')
    if (options.upTo !== undefined) query = query.where('seq', '<=', options.upTo)
    if (options.app !== undefined) query = query.where('app', '=', options.app)
    if (options.operation !== undefined) query = query.where('operation', '=', options.operation)
    return (await query.limit(options.limit ?? 500).execute()).map(toEvent)
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

  /** Keeps the newest `keep` events (R14.4). */
  async trim(keep: number): Promise<void> {
    const last = await this.lastSeq()
    await write(this.#context, (tx) =>
      tx
        .deleteFrom('events')
        .where('seq', '<=', last - keep)
        .execute(),
    )
  }
}
