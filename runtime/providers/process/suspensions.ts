import type { FindListeners } from '../../listeners.ts'
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

/** `unsure`: something is stopped that was not at the look before; the next one tells. */
export type Finding = 'going' | 'suspended' | 'unsure'

/** What was stopped at a look, how far it had come, and what that meant. */
type Picture = { text: string; look: number; finding: Finding }

/**
 * Tells which instances are suspended: of the processes that listen on its port every one is stopped. A server whose
 * parent alone is stopped goes on serving, and one whose shell alone goes on serves nobody.
 *
 * Only what is stopped at two looks, and has not run in between, is taken for stopped: whoever is traced (strace), sampled
 * (py-spy) or slowed down (cpulimit) stands still many times a second, and serves all the same.
 */
export class Suspensions {
  readonly #options: SuspensionsOptions
  readonly #members: Members
  /** Of instances that have a stopped process. */
  readonly #pictures = new Map<string, Picture>()
  #looks = 0

  constructor(options: SuspensionsOptions) {
    this.#options = options
    this.#members = new Members(options.table)
  }

  /** By instance; one that is missing has no leader any more. */
  async look(watched: ReadonlyMap<string, Watched>): Promise<Map<string, Finding>> {
    this.#looks++
    const members = await this.#members.look(watched)
    for (const id of this.#pictures.keys()) if (!members.has(id)) this.#pictures.delete(id)
    const found = new Map<string, Finding>()
    for (const [id, rows] of members) found.set(id, await this.#judge(id, watched.get(id)?.port ?? 0, rows))
    return found
  }

  async #judge(id: string, port: number, members: ProcessRow[]): Promise<Finding> {
    const last = this.#pictures.get(id)
    const text = await this.#picture(members)
    if (text === null) {
      this.#pictures.delete(id)
      return 'going'
    }
    const sure = last?.text === text
    if (sure && last.finding !== 'unsure' && this.#looks - last.look < LOOKS_BETWEEN_CLOSER_ONES) return last.finding
    const finding = !sure ? 'unsure' : (await this.#nobodyServes(id, port)) ? 'suspended' : 'going'
    this.#pictures.set(id, { text, look: this.#looks, finding })
    return finding
  }

  /** Null when nothing is stopped. Of those that go on nothing is in it: a busy shell has others each time. */
  async #picture(members: ProcessRow[]): Promise<string | null> {
    const stopped = members.filter((row) => row.stopped)
    if (stopped.length === 0) return null
    const marks = stopped.map(async ({ pid }) => `${pid} ${await this.#options.table.progress(pid)}`)
    return (await Promise.all(marks)).join()
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
    const addresses = await this.#options.findListeners(
      rows.map(({ pid }) => pid),
      port,
    )
    return addresses.length > 0
  }
}
