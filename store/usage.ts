/**
 * How long instances have run (R1.3), as one sum for each compute size: bounded, however many come and go.
 *
 * An instance counts from its start until its end is seen. The worker adds what has passed every `METER_MS`; where it
 * was away and the instance ended meanwhile, nobody knows when, and at most `UNSEEN_MS` of that time are counted.
 */
import type { Selectable } from 'kysely'
import { elapsedMs } from '../domain/spans.ts'
import type { ObservedState } from '../domain/states.ts'
import { type Db, type StoreContext, write } from './context.ts'
import type { Schema } from './schema.ts'

export const METER_MS = 10_000
const UNSEEN_MS = 2 * METER_MS

type Row = Pick<Selectable<Schema['instances']>, 'observed' | 'compute_size' | 'metered_at'>

const holdsCompute = (observed: string): boolean => ['running', 'suspended', 'starting'].includes(observed)

/** Counts what a change of the observed state ends. @returns the `metered_at` of the row from here on. */
export async function meterChange(
  context: StoreContext,
  tx: Db,
  row: Row,
  observed: ObservedState,
): Promise<number | null> {
  const now = context.now()
  // One that ran and is being started has ended without being seen.
  const ended = !holdsCompute(observed) || (row.observed !== 'starting' && observed === 'starting')
  if (row.metered_at !== null && !ended) return row.metered_at
  if (row.metered_at !== null) await add(tx, row.compute_size, Math.min(elapsedMs(row.metered_at, now), UNSEEN_MS))
  return holdsCompute(observed) ? now : null
}

/** Counts the last of instances whose rows go. */
export async function meterEnd(context: StoreContext, tx: Db, ids: string[]): Promise<void> {
  const rows = await tx.selectFrom('instances').selectAll().where('id', 'in', ids).execute()
  for (const { compute_size, metered_at } of rows)
    if (metered_at !== null) await add(tx, compute_size, Math.min(elapsedMs(metered_at, context.now()), UNSEEN_MS))
}

/**
 * Counts what has passed for every instance that is known to run. Call it only when what is observed is up to date.
 * A clock that jumps between two calls adds nothing: no more has passed than between the calls.
 */
export function createMeter(context: StoreContext): () => Promise<void> {
  let last: number | null = null
  return async () => {
    const at = context.elapsed()
    // The first call of a worker counts what passed while there was none.
    const most = last === null ? Number.POSITIVE_INFINITY : at - last
    await write(context, async (tx) => {
      const now = context.now()
      const rows = await tx.selectFrom('instances').selectAll().where('metered_at', 'is not', null).execute()
      for (const row of rows) await add(tx, row.compute_size, Math.min(elapsedMs(row.metered_at as number, now), most))
      if (rows.length > 0)
        await tx.updateTable('instances').set({ metered_at: now }).where('metered_at', 'is not', null).execute()
    })
    last = at
  }
}

/** By compute size, in ms, with what runs now. */
export async function usedMs(context: StoreContext): Promise<Record<string, number>> {
  const sums = await context.db.selectFrom('usage').selectAll().execute()
  const used = Object.fromEntries(sums.map((row) => [row.compute_size, row.instance_ms]))
  const running = await context.db.selectFrom('instances').selectAll().where('metered_at', 'is not', null).execute()
  for (const { compute_size, metered_at } of running) {
    const open = Math.min(elapsedMs(metered_at as number, context.now()), UNSEEN_MS)
    used[compute_size] = (used[compute_size] ?? 0) + open
  }
  return used
}

async function add(tx: Db, size: string, ms: number): Promise<void> {
  const more = Math.round(ms)
  await tx
    .insertInto('usage')
    .values({ compute_size: size, instance_ms: more })
    .onConflict((conflict) =>
      conflict.column('compute_size').doUpdateSet(({ eb, ref }) => ({
        instance_ms: eb(ref('usage.instance_ms'), '+', more),
      })),
    )
    .execute()
}
