import { type FindListeners, portOf } from '../../listeners.ts'
import type { Leader } from './family.ts'
import { Members } from './members.ts'
import type { ProcessRow, ProcessTable } from './process-table.ts'

export type Watched = Leader & { port: number }

export type SuspensionsOptions = {
  table: ProcessTable
  findListeners: FindListeners
  /** All living processes of an instance; a closer and dearer look than that of `Members`. */
  family(id: string): Promise<ProcessRow[]>
}

/** Who listens may change while the same processes are stopped; that is looked at again after so many looks. */
const LOOKS_BETWEEN_CLOSER_ONES = 10

/**
 * Tells which instances are suspended: of the processes that listen on its port every one is stopped. A server whose
 * parent alone is stopped goes on serving, and one whose shell alone goes on serves nobody.
 */
export class Suspensions {
  readonly #options: SuspensionsOptions
  readonly #members: Members
  /** Of instances that have a stopped process: what the last closer look saw, and what it found. */
  readonly #closer = new Map<string, { picture: string; look: number; suspended: boolean }>()
  #looks = 0

  constructor(options: SuspensionsOptions) {
    this.#options = options
    this.#members = new Members(options.table)
  }

  /** By instance, whether it is suspended; one that is missing has no leader any more. */
  async look(watched: ReadonlyMap<string, Watched>): Promise<Map<string, boolean>> {
    this.#looks++
    const members = await this.#members.look(watched)
    for (const id of this.#closer.keys()) if (!members.has(id)) this.#closer.delete(id)
    const found = new Map<string, boolean>()
    for (const [id, rows] of members) found.set(id, await this.#isSuspended(id, watched.get(id)?.port ?? 0, rows))
    return found
  }

  async #isSuspended(id: string, port: number, members: ProcessRow[]): Promise<boolean> {
    if (!members.some(({ stopped }) => stopped)) {
      this.#closer.delete(id)
      return false
    }
    const picture = members.map(({ pid, stopped }) => `${pid} ${stopped}`).join()
    const last = this.#closer.get(id)
    if (last?.picture === picture && this.#looks - last.look < LOOKS_BETWEEN_CLOSER_ONES) return last.suspended
    const suspended = await this.#nobodyServes(id, port)
    this.#closer.set(id, { picture, look: this.#looks, suspended })
    return suspended
  }

  async #nobodyServes(id: string, port: number): Promise<boolean> {
    const { stopped = [], going = [] } = Object.groupBy(await this.#options.family(id), (row) =>
      row.stopped ? 'stopped' : 'going',
    )
    if (going.length === 0) return stopped.length > 0
    // Where nobody listens (yet), it is not for want of those that are stopped.
    return !(await this.#listens(going, port)) && (await this.#listens(stopped, port))
  }

  async #listens(rows: ProcessRow[], port: number): Promise<boolean> {
    const addresses = await this.#options.findListeners(rows.map(({ pid }) => pid))
    return addresses.some((address) => portOf(address) === port)
  }
}
