import { SHED_RANKS } from '../domain/affinity.ts'

/**
 * Counts sessions for people and predictions, never for routing (DESIGN D8). A session is a routing key seen in the
 * last 30 minutes. The table is bounded by sampling: when it is full it keeps every second key only, by the hash of
 * the key, so that all processes keep the same keys and their samples can be united. When few are left, after a flood of
 * keys for example, it keeps more of them again.
 */

const WINDOW_MINUTES = 30

/** Rows of [hash of app and key, instance index, minute last seen, rank]; every key stands for `2^halvings` sessions. */
export type SessionSample = { halvings: number; instances: string[]; rows: [number, number, number, number][] }

export const NO_SESSIONS: SessionSample = { halvings: 0, instances: [], rows: [] }

/** In the place of an instance. */
const MOVED = ''
/** In the place of a rank: the client chose the key, and a rebalance leaves it alone. */
export const NOT_MINTED = -1

type Row = { instance: string; minute: number; rank: number }

export class Sessions {
  private readonly rows = new Map<number, Row>()
  /** Of what is told. */
  private halvings = 0
  /** Of what is kept: lower while more is kept again, until what was left out before has been seen or forgotten. */
  private kept = { halvings: 0, since: 0 }
  private readonly maxRows: number

  /** @param maxRows size of the table; 8,192 rows are about 1 MB and estimate to within some 2 %. */
  constructor(maxRows = 8192) {
    this.maxRows = maxRows
  }

  /**
   * @param hash 32 bits that tell one session of one app from another
   * @param minute in which the request came
   * @param rank `shedRank` of a key that a router minted, NOT_MINTED of another
   */
  seen(hash: number, instance: string, minute: number, rank: number): void {
    if (!isSampled(hash, this.kept.halvings)) return
    const row = this.rows.get(hash)
    if (row !== undefined) {
      // Requests are counted when they end: one that came before others, or before the session went on under another
      // key, says nothing any more.
      if (minute < row.minute || (minute === row.minute && row.instance === MOVED)) return
      row.instance = instance
      row.minute = minute
      row.rank = rank
      return
    }
    this.rows.set(hash, { instance, minute, rank })
    if (this.rows.size > this.maxRows) this.shrink(minute)
  }

  /** The session goes on under another key; a mark stays, because other processes may still count the old one. */
  moved(hash: number, minute: number): void {
    this.seen(hash, MOVED, minute, NOT_MINTED)
  }

  private shrink(minute: number): void {
    this.forget(minute)
    while (this.rows.size > this.maxRows / 2 && this.kept.halvings < 20) {
      this.kept.halvings++
      for (const hash of this.rows.keys()) if (!isSampled(hash, this.kept.halvings)) this.rows.delete(hash)
    }
    this.halvings = Math.max(this.halvings, this.kept.halvings)
  }

  private forget(minute: number): void {
    for (const [hash, row] of this.rows) if (row.minute < minute - WINDOW_MINUTES) this.rows.delete(hash)
  }

  private keepMore(minute: number): void {
    const { kept } = this
    kept.since = Math.min(kept.since, minute)
    if (kept.halvings < this.halvings) {
      if (minute - kept.since > WINDOW_MINUTES) this.halvings = kept.halvings
      return
    }
    const room = Math.floor(Math.log2(this.maxRows / 4 / Math.max(1, this.rows.size)))
    if (kept.halvings === 0 || room < 1) return
    this.kept = { halvings: Math.max(0, kept.halvings - room), since: minute }
  }

  sample(minute: number): SessionSample {
    // Seen by a clock that was ahead: until that time nothing new would count.
    for (const row of this.rows.values()) row.minute = Math.min(row.minute, minute)
    this.forget(minute)
    this.keepMore(minute)
    const instances: string[] = []
    const index = new Map<string, number>()
    const rows: SessionSample['rows'] = []
    for (const [hash, row] of this.rows) {
      if (!isSampled(hash, this.halvings)) continue
      let i = index.get(row.instance)
      if (i === undefined) {
        i = instances.push(row.instance) - 1
        index.set(row.instance, i)
      }
      rows.push([hash, i, row.minute, row.rank])
    }
    return { halvings: this.halvings, instances, rows }
  }
}

const isSampled = (hash: number, halvings: number): boolean => (hash & ((1 << halvings) - 1)) === 0

/** What the processes of a router have counted together, by instance id. */
export type SessionCount = {
  sessions: Record<string, number>
  /** How many of those that a router minted have which rank; instances without any are left out. */
  ranks: Record<string, number[]>
}

/** Over all processes; a session that several of them saw counts once, where it was last. */
export function countSessions(samples: SessionSample[]): SessionCount {
  const halvings = Math.max(0, ...samples.map((sample) => sample.halvings))
  const last = new Map<number, Row>()
  for (const sample of samples) {
    for (const [hash, i, minute, rank] of sample.rows) {
      if (!isSampled(hash, halvings)) continue
      const known = last.get(hash)
      const instance = sample.instances[i] as string
      const newer =
        known === undefined || known.minute < minute || (known.minute === minute && known.instance !== MOVED)
      if (newer) last.set(hash, { instance, minute, rank })
    }
  }
  const count: SessionCount = { sessions: {}, ranks: {} }
  for (const { instance, rank } of last.values()) {
    if (instance === MOVED) continue
    count.sessions[instance] = (count.sessions[instance] ?? 0) + 2 ** halvings
    if (rank === NOT_MINTED) continue
    count.ranks[instance] ??= Array.from({ length: SHED_RANKS }, () => 0)
    const ranks = count.ranks[instance]
    ranks[rank] = (ranks[rank] as number) + 2 ** halvings
  }
  return count
}
