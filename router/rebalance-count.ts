/** More sessions than this are counted one by one, and those that came twice in the meantime twice. */
const MAX_REMEMBERED = 200_000

/** Sessions that a rebalance moved since the last beat: `<app>/<epoch>` → hashes of their old keys. */
export type MovedSessions = Record<string, number[]>

/** In a process that carries traffic: notes who was moved until the next beat takes it along. */
export class RebalanceNotes {
  private notes: MovedSessions = {}

  moved(app: string, epoch: number, hash: number): void {
    const key = `${app}/${epoch}`
    const hashes = this.notes[key]
    if (hashes === undefined) this.notes[key] = [hash]
    else hashes.push(hash)
  }

  take(): MovedSessions | undefined {
    if (Object.keys(this.notes).length === 0) return undefined
    const taken = this.notes
    this.notes = {}
    return taken
  }
}

/** In the primary: how many sessions each rebalance has moved; each counts once, whatever processes met it (R8.3). */
export class RebalanceCount {
  private readonly seen = new Map<string, Set<number>>()
  private readonly beyond = new Map<string, number>()

  add(moved: MovedSessions): void {
    for (const [key, hashes] of Object.entries(moved)) {
      const seen = this.seen.get(key) ?? new Set<number>()
      this.seen.set(key, seen)
      for (const hash of hashes) {
        if (seen.size < MAX_REMEMBERED) seen.add(hash)
        else if (!seen.has(hash)) this.beyond.set(key, (this.beyond.get(key) ?? 0) + 1)
      }
    }
  }

  /** Forgets rebalances that the table does not name any more. */
  keepOnly(keys: ReadonlySet<string>): void {
    for (const key of this.seen.keys()) {
      if (keys.has(key)) continue
      this.seen.delete(key)
      this.beyond.delete(key)
    }
  }

  counts(): Record<string, number> {
    return Object.fromEntries([...this.seen].map(([key, seen]) => [key, seen.size + (this.beyond.get(key) ?? 0)]))
  }
}
