/**
 * What can be said of sessions from their counts (R8): how many a resize would move, and what a rebalance should shed.
 * Pure; the counts are the routers', who count for people and never for routing (DESIGN D8).
 */

import { SHED_RANKS } from './affinity.ts'

/** Sessions by slot. */
export type SessionCounts = Record<number, number>

/** By slot, how many of its minted sessions have which rank (`shedRank`). */
export type SessionRanks = Record<number, readonly number[]>

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
  /** Slot → fraction of the ranks that it sheds, 0 to 1; slots that shed none are left out. */
  shed: Record<string, number>
  /** How many sessions move: those of that rank that were counted. Fewer, where some of them do not ask any more. */
  atMost: number
}

/**
 * Takes each slot that has more than its share down towards it: by as many of its lowest ranks as have no more minted
 * sessions than it has too many, because keys that clients chose never move (R8.3). Slots without sessions are among
 * `slots` all the same.
 */
export function planRebalance(counts: SessionCounts, ranks: SessionRanks, slots: readonly number[]): RebalancePlan {
  const share = sum(slots.map((slot) => counts[slot] ?? 0)) / Math.max(slots.length, 1)
  const shed: Record<string, number> = {}
  let atMost = 0
  for (const slot of slots) {
    const excess = Math.floor((counts[slot] ?? 0) - share)
    const counted = ranks[slot] ?? []
    let taken = 0
    let moved = 0
    // Never all of them: a session that begins in this slot later needs a rank that stays.
    for (let rank = 0; rank < SHED_RANKS - 1; rank++) {
      const n = counted[rank] ?? 0
      if (moved + n > excess) break
      moved += n
      if (n > 0) taken = rank + 1
    }
    if (moved === 0) continue
    shed[slot] = taken / SHED_RANKS
    atMost += moved
  }
  return { shed, atMost }
}

const sum = (numbers: number[]): number => numbers.reduce((total, n) => total + n, 0)
