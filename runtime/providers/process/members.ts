import type { Leader } from './family.ts'
import type { ProcessRow, ProcessTable } from './process-table.ts'

/** A pid is used again after thousands of others at the earliest; until then who is a stranger stays one. */
const LOOKS_BETWEEN_WHOLE_ONES = 20
const MAX_GENERATIONS = 64

/**
 * Looks at the processes of many instances again and again: their process groups, and what descends from them. A look
 * reads what is known to belong to an instance, and whoever is new since the look before; the whole table only when
 * there is another instance, and every so often. On a machine with a thousand processes that is a twentieth of the work.
 */
export class Members {
  readonly #table: ProcessTable
  #strangers = new Set<number>()
  #leaders = ''
  #looks = 0

  constructor(table: ProcessTable) {
    this.#table = table
  }

  /** The living members of each instance whose leader lives; one that is missing has no leader any more. */
  async look(leaders: ReadonlyMap<string, Leader>): Promise<Map<string, ProcessRow[]>> {
    const asked = JSON.stringify([...leaders.values()])
    if (asked !== this.#leaders || this.#looks++ % LOOKS_BETWEEN_WHOLE_ONES === 0) this.#strangers = new Set()
    this.#leaders = asked
    const rows = new Map((await this.#table.rows(this.#strangers)).map((row) => [row.pid, row]))
    const instances = new Map<number, string>()
    const found = new Map<string, ProcessRow[]>()
    for (const [id, { pid, startTime }] of leaders) {
      const row = rows.get(pid)
      if (row === undefined || row.zombie || row.startTime !== startTime) continue
      instances.set(pid, id)
      found.set(id, [])
    }
    for (const row of rows.values()) {
      const id = instanceOf(row, rows, instances)
      if (id === null) this.#strangers.add(row.pid)
      else if (!row.zombie) found.get(id)?.push(row)
    }
    return found
  }
}

/** By its group, or that of the nearest ancestor that has one. `instances`: by the group's number. */
function instanceOf(
  row: ProcessRow,
  rows: ReadonlyMap<number, ProcessRow>,
  instances: ReadonlyMap<number, string>,
): string | null {
  let at: ProcessRow | undefined = row
  // The bound is for rows that were not read at one moment: pids that were used again could make a circle of them.
  for (let generation = 0; at !== undefined && generation < MAX_GENERATIONS; generation++) {
    const id = instances.get(at.group)
    if (id !== undefined) return id
    at = rows.get(at.parent)
  }
  return null
}
