/**
 * What can be said of sessions from their counts (R8): how many a resize would move, and what a rebalance should shed.
 * Pure; the counts are the routers', who count for people and never for routing (DESIGN D8).
 */

/** Sessions by slot. */
export type SessionCounts = Record<number, number>

export type Prediction = {
  sessions: number
  /** How many would move. Exact for slots that leave, the expectation for slots that join. */
  moved: number
}

/**
 * A slot that leaves moves its own sessions and no others; one that joins takes its share of each (rendezvous hashing;
 * Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998).
 */
export function predictResize(counts: SessionCounts, from: number, to: number): Prediction {
  const sessions = sum(Object.values(counts))
  if (to < from)
    return { sessions, moved: sum(Object.entries(counts).map(([slot, n]) => (Number(slot) >= to ? n : 0))) }
  return { sessions, moved: to === 0 ? 0 : Math.round((sessions * (to - from)) / to) }
}

export type RebalancePlan = {
  /** Slot → fraction of its sessions to shed, 0 to 1; slots that shed none are left out. */
  shed: Record<string, number>
  /** How many sessions move at most; fewer where clients chose their keys, which never move (R8.3). */
  atMost: number
}

/** Takes each slot that has more than its share down to it. Slots without sessions are among `slots` all the same. */
export function planRebalance(counts: SessionCounts, slots: readonly number[]): RebalancePlan {
  const share = sum(slots.map((slot) => counts[slot] ?? 0)) / Math.max(slots.length, 1)
  const over = slots
    .map((slot) => ({ slot, n: counts[slot] ?? 0 }))
    .map(({ slot, n }) => ({ slot, n, excess: Math.floor(n - share) }))
    .filter(({ excess }) => excess > 0)
  return {
    shed: Object.fromEntries(over.map(({ slot, n, excess }) => [String(slot), excess / n])),
    atMost: sum(over.map(({ excess }) => excess)),
  }
}

const sum = (numbers: number[]): number => numbers.reduce((total, n) => total + n, 0)
