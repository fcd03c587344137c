/**
 * Ports that are written down before they are used and rest afterwards (DESIGN D7, D11): a router that is behind must
 * never reach another app at an address that it still knows.
 */
import { portOf } from '../domain/address.ts'
import { CoppiceError } from '../domain/errors.ts'
import { type Db, type StoreContext, write } from './context.ts'
import { routeVersion } from './routes.ts'

export type PortRange = { first: number; last: number }

/** How long a port on which something foreign listens is left alone. */
const FOREIGN_REST_MS = 60_000

export class Ports {
  readonly #context: StoreContext
  readonly #range: PortRange
  readonly #random: () => number

  /** @param random 0 ≤ x < 1; spreads stacks of one machine over the range. */
  constructor(context: StoreContext, range: PortRange, random: () => number) {
    this.#context = context
    this.#range = range
    this.#random = random
  }

  acquire(instance: string): Promise<number> {
    return write(this.#context, (tx) => this.#lease(tx, instance))
  }

  replace(instance: string, port: number): Promise<number> {
    return write(this.#context, async (tx) => {
      await tx
        .updateTable('ports')
        .set({ state: 'foreign', instance: null, until: this.#context.now() + FOREIGN_REST_MS })
        .where('port', '=', port)
        .where('instance', '=', instance)
        .execute()
      return this.#lease(tx, instance)
    })
  }

  release(instance: string): Promise<void> {
    return write(this.#context, async (tx) => {
      const row = await tx.selectFrom('instances').select('role').where('id', '=', instance).executeTakeFirst()
      // In a table still: how long it rests is known only when its row goes (restPorts). Never in one: free at once.
      const inTable = row !== undefined && row.role !== 'standby'
      await tx
        .updateTable('ports')
        .set({ state: 'resting', rests_until_version: inTable ? null : 0 })
        .where('instance', '=', instance)
        .where('state', '=', 'leased')
        .execute()
    })
  }

  /** How many rest because a router may still know them that has acknowledged no more than `version`. */
  async heldBackBy(version: number): Promise<number> {
    const row = await this.#context.db
      .selectFrom('ports')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .where('state', '=', 'resting')
      .where('rests_until_version', '>', version)
      .executeTakeFirstOrThrow()
    return row.count
  }

  async #lease(tx: Db, instance: string): Promise<number> {
    const held = await tx.selectFrom('ports').selectAll().where('instance', '=', instance).executeTakeFirst()
    if (held !== undefined) {
      // Started again after a release: the address is still its own.
      if (held.state !== 'leased')
        await tx
          .updateTable('ports')
          .set({ state: 'leased', rests_until_version: null })
          .where('port', '=', held.port)
          .execute()
      return held.port
    }
    await this.#freeRested(tx)
    const taken = new Set((await tx.selectFrom('ports').select('port').execute()).map((row) => row.port))
    const size = this.#range.last - this.#range.first + 1
    const offset = Math.floor(this.#random() * size)
    for (let i = 0; i < size; i++) {
      const port = this.#range.first + ((offset + i) % size)
      if (taken.has(port)) continue
      await tx
        .insertInto('ports')
        .values({ port, instance, state: 'leased', rests_until_version: null, until: null })
        .execute()
      return port
    }
    throw new CoppiceError(
      'PortUnavailable',
      `No port is free between ${this.#range.first} and ${this.#range.last} for ${instance}`,
    )
  }

  async #freeRested(tx: Db): Promise<void> {
    await this.#restForeign(tx)
    const routers = await tx.selectFrom('routers').select('version').execute()
    const everywhere = Math.min(...routers.map((router) => router.version), Number.MAX_SAFE_INTEGER)
    await tx
      .deleteFrom('ports')
      .where('state', '=', 'resting')
      .where('rests_until_version', 'is not', null)
      .where('rests_until_version', '<=', everywhere)
      .execute()
  }

  /**
   * A foreign port on which an instance served before is known to routers until they have acknowledged a table without it:
   * the current one is, as soon as no instance is at that address any more.
   */
  async #restForeign(tx: Db): Promise<void> {
    const now = this.#context.now()
    const past = await tx
      .selectFrom('ports')
      .select('port')
      .where('state', '=', 'foreign')
      // Past its rest, or before it began: then the clock was set back.
      .where((eb) => eb.or([eb('until', '<=', now), eb('until', '>', now + FOREIGN_REST_MS)]))
      .execute()
    if (past.length === 0) return
    const rows = await tx.selectFrom('instances').select('address').where('address', 'is not', null).execute()
    const served = new Set(rows.map(({ address }) => portOf(address as string)))
    const left = past.map(({ port }) => port).filter((port) => !served.has(port))
    await tx
      .updateTable('ports')
      .set({ state: 'resting', rests_until_version: await routeVersion(tx), until: null })
      .where('port', 'in', left)
      .execute()
  }
}

/** The instances leave the table with `version`: from there on their ports may become free. */
export async function restPorts(tx: Db, instances: string[], version: number): Promise<void> {
  if (instances.length === 0) return
  await tx
    .updateTable('ports')
    .set({ state: 'resting', rests_until_version: version })
    .where('instance', 'in', instances)
    .where((eb) => eb.or([eb('state', '=', 'leased'), eb('rests_until_version', 'is', null)]))
    .execute()
}
