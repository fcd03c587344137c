/**
 * Routers and what they acknowledged (DESIGN D7, R12.10).
 *
 * A router that reports the current version is *counted*: from then on a publication waits for it. It stays counted
 * while its lease lasts, also when it lags. A lease that has lapsed takes it out of the set; it comes back only when it
 * reports the current version again. Its row stays until it signs off or an operator removes it, because an address
 * must not be used again while any router may still hold a table with it.
 */
import type { ReportAnswer, RouterReport } from '../domain/route-table.ts'
import { type Db, type StoreContext, write } from './context.ts'
import { routeVersion } from './routes.ts'

export type RouterOptions = { leaseMs: number; leaseMarginMs: number }

export type RouterRecord = {
  id: string
  incarnation: string
  address: string
  seenAt: number
  counted: boolean
  version: number
  processes: number
  inFlight: Record<string, number>
  longLived: Record<string, number>
  /** By instance id. */
  sessions: Record<string, number>
  /** By `<app>/<epoch>`. */
  rebalanced: Record<string, number>
  down: string[]
  /** By instance id: since when it has said without a break that this one is silent (Unix ms). */
  silent: Record<string, number>
}

export type Acknowledgement = {
  /** Every counted router has this version. */
  complete: boolean
  /** Counted routers that have not acknowledged yet. */
  waitingFor: string[]
  /** The control plane gives no sign of life: nobody can acknowledge, and no lease can lapse. */
  controlPlaneDown: boolean
}

const CONTROL_STARTED = 'control_started_at'
const CONTROL_SEEN = 'control_seen_at'
/** The control plane signs every second; three missed signs are a death. */
const CONTROL_SILENCE_MS = 3_500

export class Routers {
  readonly #context: StoreContext
  readonly #options: RouterOptions

  constructor(context: StoreContext, options: RouterOptions) {
    this.#context = context
    this.#options = options
  }

  report(report: RouterReport): Promise<ReportAnswer> {
    const { inventory, now } = this.#context
    return write(this.#context, async (tx) => {
      const current = await routeVersion(tx)
      const known = await tx.selectFrom('routers').selectAll().where('id', '=', report.router).executeTakeFirst()
      const version = report.inventory === inventory ? report.version : -1
      const inLease = known !== undefined && known.counted === 1 && (await this.#leaseEnd(tx, known.seen_at)) > now()
      const same = known?.incarnation === report.incarnation
      const counted = version >= current || (inLease && same)
      const row = {
        incarnation: inLease && !counted ? known.incarnation : report.incarnation,
        address: report.address,
        // A router that was started anew and lags serves the table on its disk: whatever that table names must go on
        // until it has synchronised, or until the lease of its predecessor has lapsed, which it does not renew.
        seen_at: inLease && !counted ? known.seen_at : now(),
        counted: counted || inLease ? 1 : 0,
        inventory: report.inventory,
        version,
        processes: report.processes,
        in_flight: JSON.stringify(report.inFlight),
        long_lived: JSON.stringify(report.longLived),
        sessions: JSON.stringify(report.sessions),
        session_ranks: JSON.stringify(report.sessionRanks),
        rebalanced: JSON.stringify(report.rebalanced),
        down: JSON.stringify(report.down),
        silent: JSON.stringify(silentSince(report.silent, same ? known.silent : '{}', now())),
      }
      await tx
        .insertInto('routers')
        .values({ id: report.router, registered_at: now(), ...row })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
        .execute()
      return { counted, inventory, version: current, leaseMs: this.#options.leaseMs }
    })
  }

  /** A router that stops on purpose signs off; so does an operator for one that will not come back. */
  async remove(id: string): Promise<boolean> {
    const result = await write(this.#context, (tx) => tx.deleteFrom('routers').where('id', '=', id).executeTakeFirst())
    return result.numDeletedRows > 0n
  }

  async list(): Promise<RouterRecord[]> {
    const rows = await this.#context.db.selectFrom('routers').selectAll().orderBy('id').execute()
    return rows.map((row) => ({
      id: row.id,
      incarnation: row.incarnation,
      address: row.address,
      seenAt: row.seen_at,
      counted: row.counted === 1,
      version: row.version,
      processes: row.processes,
      inFlight: JSON.parse(row.in_flight),
      longLived: JSON.parse(row.long_lived),
      sessions: JSON.parse(row.sessions),
      rebalanced: JSON.parse(row.rebalanced),
      down: JSON.parse(row.down),
      silent: JSON.parse(row.silent),
    }))
  }

  /** Who still has to acknowledge `version`. Takes routers whose lease has lapsed out of the set. */
  async acknowledged(version: number): Promise<Acknowledgement> {
    const controlPlaneDown = !(await this.#controlPlaneAlive())
    const waitingFor: string[] = []
    for (const router of await this.list()) {
      if (!router.counted || router.version >= version) continue
      if (!controlPlaneDown && (await this.#leaseEnd(this.#context.db, router.seenAt)) <= this.#context.now()) {
        await write(this.#context, (tx) =>
          tx
            .updateTable('routers')
            .set({ counted: 0 })
            .where('id', '=', router.id)
            .where('seen_at', '=', router.seenAt)
            .execute(),
        )
        continue
      }
      waitingFor.push(router.id)
    }
    return { complete: waitingFor.length === 0, waitingFor, controlPlaneDown }
  }

  /**
   * Requests in flight to `instance` over all counted routers, as they reported last; null while one of them has not
   * reported at `version` or later, when its count says nothing yet.
   */
  async inFlight(instance: string, version: number): Promise<number | null> {
    if (!(await this.acknowledged(version)).complete) return null
    const routers = (await this.list()).filter((router) => router.counted)
    return routers.reduce((sum, router) => sum + (router.inFlight[instance] ?? 0), 0)
  }

  /**
   * Instances that any router in touch says are silent, with the earliest time since when one of them has said so
   * without a break. What a router said that is not heard of any more says nothing about now.
   */
  async silent(): Promise<Map<string, number>> {
    const found = new Map<string, number>()
    for (const { seenAt, silent } of await this.list()) {
      if ((await this.#leaseEnd(this.#context.db, seenAt)) <= this.#context.now()) continue
      for (const [id, since] of Object.entries(silent)) found.set(id, Math.min(since, found.get(id) ?? since))
    }
    return found
  }

  /** The control plane's sign of life, every second. Leases count at the earliest from its own start. */
  async signControlPlane(options: { starting: boolean }): Promise<void> {
    const value = String(this.#context.now())
    await write(this.#context, async (tx) => {
      for (const key of options.starting ? [CONTROL_STARTED, CONTROL_SEEN] : [CONTROL_SEEN])
        await tx
          .insertInto('meta')
          .values({ key, value })
          .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
          .execute()
    })
  }

  async #controlPlaneAlive(): Promise<boolean> {
    return this.#context.now() - (await this.#meta(this.#context.db, CONTROL_SEEN)) <= CONTROL_SILENCE_MS
  }

  async #leaseEnd(tx: Db, seenAt: number): Promise<number> {
    const from = Math.max(seenAt, await this.#meta(tx, CONTROL_STARTED))
    return from + this.#options.leaseMs + this.#options.leaseMarginMs
  }

  async #meta(tx: Db, key: string): Promise<number> {
    const row = await tx.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirst()
    return Number(row?.value ?? 0)
  }
}

/** The time of the first report that named it; one report without it, and it has answered. */
function silentSince(ids: readonly string[], before: string, now: number): Record<string, number> {
  const known = new Map<string, number>(Object.entries(JSON.parse(before)))
  return Object.fromEntries(ids.map((id) => [id, known.get(id) ?? now]))
}
