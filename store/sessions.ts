/** Sessions of an app as its routers count them, and their rebalancing: a transaction and a publication (R8.3). */
import { SHED_RANKS } from '../domain/affinity.ts'
import { CoppiceError } from '../domain/errors.ts'
import {
  type Prediction,
  planRebalance,
  predictResize,
  type SessionCounts,
  type SessionRanks,
} from '../domain/sessions.ts'
import { getApp } from './apps.ts'
import { type Db, parseJson, type StoreContext, write } from './context.ts'
import { addEvent } from './events.ts'
import { servingInstances } from './instances.ts'
import { raiseRouteVersion } from './routes.ts'

export type Rebalanced = { epoch: number; atMost: number; version: number }

export class Sessions {
  readonly #context: StoreContext

  constructor(context: StoreContext) {
    this.#context = context
  }

  /** By slot, over all routers. A session that two routers have seen counts twice. */
  counts(app: string): Promise<SessionCounts> {
    return countsIn(this.#context.db, app)
  }

  /** How many sessions would move if the app had `instances`. @throws CoppiceError NotFound */
  async predict(app: string, instances: number): Promise<Prediction> {
    const record = await getApp(this.#context.db, app)
    if (record === null) throw notFound(app)
    return predictResize(await this.counts(app), record.instances, instances)
  }

  /**
   * Has each slot shed what it has above its share. Each minted session moves at most once in an epoch.
   *
   * @throws CoppiceError NotFound, OperationInProgress, InvalidState
   */
  rebalance(app: string): Promise<Rebalanced> {
    return write(this.#context, async (tx) => {
      const record = await getApp(tx, app)
      if (record === null) throw notFound(app)
      if (record.operation !== null)
        throw new CoppiceError(
          'OperationInProgress',
          `Cannot rebalance ${app} while operation ${record.operation} runs`,
        )
      const slots = (await servingInstances(tx, app)).map(({ slot }) => slot)
      if (record.mode !== 'scaled' || slots.length < 2)
        throw new CoppiceError(
          'InvalidState',
          `App ${app} has ${slots.length} serving instances; there is nothing to rebalance`,
        )
      const { shed, atMost } = planRebalance(await countsIn(tx, app), await ranksIn(tx, app), slots)
      const row = await tx.selectFrom('apps').select('rebalance').where('name', '=', app).executeTakeFirstOrThrow()
      const epoch = (parseJson<{ epoch: number }>(row.rebalance)?.epoch ?? 0) + 1
      await tx
        .updateTable('apps')
        .set({ rebalance: JSON.stringify({ epoch, slots, shed, atMost }) })
        .where('name', '=', app)
        .execute()
      const message = `Sessions of ${app} are rebalanced: at most ${atMost} move`
      await addEvent(this.#context, tx, { app, kind: 'rebalance', message, data: { epoch, shed, atMost } })
      return { epoch, atMost, version: await raiseRouteVersion(tx, app) }
    })
  }

  /** The last rebalance with how many sessions it has moved so far; null when there was none. */
  async lastRebalance(app: string): Promise<{ epoch: number; atMost: number; moved: number } | null> {
    const row = await this.#context.db.selectFrom('apps').select('rebalance').where('name', '=', app).executeTakeFirst()
    const last = parseJson<{ epoch: number; atMost: number }>(row?.rebalance ?? null)
    return last && { epoch: last.epoch, atMost: last.atMost, moved: await this.moved(app, last.epoch) }
  }

  /** How many sessions the rebalance `epoch` has moved so far. */
  async moved(app: string, epoch: number): Promise<number> {
    const rows = await this.#context.db.selectFrom('routers').select('rebalanced').execute()
    return rows.reduce(
      (sum, row) => sum + (parseJson<Record<string, number>>(row.rebalanced)?.[`${app}/${epoch}`] ?? 0),
      0,
    )
  }
}

async function countsIn(tx: Db, app: string): Promise<SessionCounts> {
  const routers = await tx.selectFrom('routers').select('sessions').execute()
  const counts: SessionCounts = {}
  for (const { id, slot } of await servingInstances(tx, app))
    counts[slot] = routers.reduce((sum, row) => sum + (parseJson<Record<string, number>>(row.sessions)?.[id] ?? 0), 0)
  return counts
}

async function ranksIn(tx: Db, app: string): Promise<SessionRanks> {
  const rows = await tx.selectFrom('routers').select('session_ranks').execute()
  const routers = rows.map((row) => parseJson<Record<string, number[]>>(row.session_ranks) ?? {})
  const ranks: SessionRanks = {}
  for (const { id, slot } of await servingInstances(tx, app))
    ranks[slot] = Array.from({ length: SHED_RANKS }, (_, rank) =>
      routers.reduce((sum, router) => sum + (router[id]?.[rank] ?? 0), 0),
    )
  return ranks
}

const notFound = (app: string): CoppiceError => new CoppiceError('NotFound', `Resource apps.App not found: ${app}`)
