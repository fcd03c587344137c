/**
 * Routers and what they acknowledged (DESIGN D7, R12.10).
 *
 * A router that reports the current version is *counted*: from then on a publication waits for it. It stays counted
 * while its lease lasts, also when it lags. A lease that has lapsed takes it out of the set; it comes back only when it
 * reports the current version again. One that signs off, or that cannot apply the current table (D32), is not counted
 * from then on. Its row stays in any case, with the version on its disk, until an operator removes it: it will begin its
 * next life with that table, and no address in it must belong to another instance by then.
 *
 * Leases are the control plane's alone: it hears the routers, and measures how long it has not by a clock that never
 * jumps (R13.8). Everybody else reads who is counted. While the control plane is away nobody can acknowledge, and no
 * lease lapses.
 */
import { PROTOCOL, type ReportAnswer, type RouterReport } from '../domain/route-table.ts'
import { elapsedMs } from '../domain/spans.ts'
import { parseJson, type StoreContext, write } from './context.ts'
import { routeVersion } from './routes.ts'

export type RouterOptions = { leaseMs: number; leaseMarginMs: number }

export type RouterRecord = {
  id: string
  incarnation: string
  address: string
  seenAt: number
  counted: boolean
  /** It has signed off. */
  away: boolean
  refused: RouterReport['refused']
  version: number
  processes: number
  inFlight: Record<string, number>
  longLived: Record<string, number>
  /** By instance id. */
  sessions: Record<string, number>
  /** By `<app>/<epoch>`. */
  rebalanced: Record<string, number>
  down: string[]
  /** Ports of apps that it cannot open. */
  takenPorts: number[]
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

const CONTROL_SEEN = 'control_seen_at'
/** The control plane signs every second; three missed signs are a death. */
const CONTROL_SILENCE_MS = 3_500

export class Routers {
  readonly #context: StoreContext
  readonly #options: RouterOptions
  /** In the control plane: when its lease was renewed last, by router; and since when this process hears anybody. */
  readonly #renewedAt = new Map<string, number>()
  #hearsSince = 0
  #signedAt = Number.NEGATIVE_INFINITY
  /** Reports that wait until they can be written down: who sends them is not silent. */
  readonly #reporting = new Map<string, number>()

  constructor(context: StoreContext, options: RouterOptions) {
    this.#context = context
    this.#options = options
  }

  async report(report: RouterReport): Promise<ReportAnswer> {
    const { inventory, now, elapsed } = this.#context
    const at = elapsed()
    this.#reporting.set(report.router, (this.#reporting.get(report.router) ?? 0) + 1)
    try {
      return await write(this.#context, async (tx) => {
        const current = await routeVersion(tx)
        const known = await tx.selectFrom('routers').selectAll().where('id', '=', report.router).executeTakeFirst()
        const version = report.inventory === inventory ? report.version : -1
        const inLease = known !== undefined && known.counted === 1 && this.#silentMs(report.router, at) < this.#leaseMs
        const same = known?.incarnation === report.incarnation
        // Nobody waits for one that goes, nor for one that will not get further before somebody has updated it.
        const out = report.leaving || (report.refused !== null && version < current)
        const counted = !out && (version >= current || (inLease && same))
        // A router that was started anew and lags serves the table on its disk: whatever that table names must go on
        // until it has synchronised, or until the lease of its predecessor has lapsed, which it does not renew.
        const predecessor = inLease && !counted && !out
        const row = {
          incarnation: predecessor ? known.incarnation : report.incarnation,
          address: report.address,
          seen_at: predecessor ? known.seen_at : now(),
          counted: counted || predecessor ? 1 : 0,
          away: report.leaving ? 1 : 0,
          refused: report.refused && JSON.stringify(report.refused),
          inventory: report.inventory,
          version,
          processes: report.processes,
          in_flight: JSON.stringify(report.inFlight),
          long_lived: JSON.stringify(report.longLived),
          sessions: JSON.stringify(report.sessions),
          session_ranks: JSON.stringify(report.sessionRanks),
          rebalanced: JSON.stringify(report.rebalanced),
          down: JSON.stringify(report.down),
          taken_ports: JSON.stringify(report.takenPorts),
          silent: JSON.stringify(silentSince(report.silent, same ? known.silent : '{}', now())),
        }
        await tx
          .insertInto('routers')
          .values({ id: report.router, registered_at: now(), ...row })
          .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
          .execute()
        if (!predecessor) this.#renewedAt.set(report.router, at)
        return { protocol: PROTOCOL, counted, inventory, version: current, leaseMs: this.#options.leaseMs }
      })
    } finally {
      const waiting = (this.#reporting.get(report.router) ?? 1) - 1
      if (waiting > 0) this.#reporting.set(report.router, waiting)
      else this.#reporting.delete(report.router)
    }
  }

  /** For one that will not come back, or has no table that it could come back with. */
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
      away: row.away === 1,
      refused: parseJson<NonNullable<RouterReport['refused']>>(row.refused),
      version: row.version,
      processes: row.processes,
      inFlight: JSON.parse(row.in_flight),
      longLived: JSON.parse(row.long_lived),
      sessions: JSON.parse(row.sessions),
      rebalanced: JSON.parse(row.rebalanced),
      down: JSON.parse(row.down),
      takenPorts: JSON.parse(row.taken_ports),
      silent: JSON.parse(row.silent),
    }))
  }

  /** Who still has to acknowledge `version`. */
  async acknowledged(version: number): Promise<Acknowledgement> {
    const waitingFor = (await this.list()).filter((router) => router.counted && router.version < version)
    return {
      complete: waitingFor.length === 0,
      waitingFor: waitingFor.map(({ id }) => id),
      controlPlaneDown: !(await this.#controlPlaneAlive()),
    }
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
    if (!(await this.#controlPlaneAlive())) return found
    for (const { counted, silent } of await this.list()) {
      if (!counted) continue
      for (const [id, since] of Object.entries(silent)) found.set(id, Math.min(since, found.get(id) ?? since))
    }
    return found
  }

  /**
   * The control plane's sign of life, every second; with it the leases end of routers that it has not heard of. They count
   * at the earliest from its own start, and anew when it has stood still itself: it could not hear anybody then.
   */
  async signControlPlane(options: { starting: boolean }): Promise<void> {
    const at = this.#context.elapsed()
    if (options.starting || at - this.#signedAt > CONTROL_SILENCE_MS) {
      this.#renewedAt.clear()
      this.#hearsSince = at
    }
    this.#signedAt = at
    const value = String(this.#context.now())
    await write(this.#context, async (tx) => {
      await tx
        .insertInto('meta')
        .values({ key: CONTROL_SEEN, value })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
        .execute()
      for (const { id } of await tx.selectFrom('routers').select('id').where('counted', '=', 1).execute())
        if (!this.#reporting.has(id) && this.#silentMs(id, at) >= this.#leaseMs)
          await tx.updateTable('routers').set({ counted: 0 }).where('id', '=', id).execute()
    })
  }

  /** Both write and read the same clock; after a jump of it the next sign, a second later, tells the truth. */
  async #controlPlaneAlive(): Promise<boolean> {
    const row = await this.#context.db
      .selectFrom('meta')
      .select('value')
      .where('key', '=', CONTROL_SEEN)
      .executeTakeFirst()
    return elapsedMs(Number(row?.value ?? 0), this.#context.now()) <= CONTROL_SILENCE_MS
  }

  get #leaseMs(): number {
    return this.#options.leaseMs + this.#options.leaseMarginMs
  }

  /** How long the control plane has not heard of it. */
  #silentMs(id: string, at: number): number {
    return at - (this.#renewedAt.get(id) ?? this.#hearsSince)
  }
}

/** The time of the first report that named it; one report without it, and it has answered. */
function silentSince(ids: readonly string[], before: string, now: number): Record<string, number> {
  const known = new Map<string, number>(Object.entries(JSON.parse(before)))
  return Object.fromEntries(ids.map((id) => [id, known.get(id) ?? now]))
}
