/** Where each request belonged (R7.*, R8.*): computed by the rule of domain/affinity.ts, table by table. */
import {
  digestKey,
  isMinted,
  isShed,
  keyFromCookie,
  pickSlot,
  type Rebalance,
  rankSlots,
  shedTarget,
} from '../../domain/affinity.ts'
import type { Attempt } from '../history-line.ts'
import { type Finding, finding } from './finding.ts'
import { mayBeDown, type SeenTable, SKEW_MS, tableTimes, type World } from './world.ts'

type Expected = { slots: Set<number>; mayMove: boolean }

/** Answers from slots where their key does not belong, by any table and fault of that moment. */
export function movedNeedlessly(history: Attempt[], world: World): Finding[] {
  const times = tableTimes(world)
  const findings: Finding[] = []
  for (const attempt of history) {
    if (attempt.slot === null || attempt.key === null) continue
    const slot = attempt.slot
    const expected = expectedOf(attempt, world, times)
    if (expected === null || expected.slots.has(slot)) continue
    const wanted = [...expected.slots].sort().join(' or ')
    findings.push(finding('moved_needlessly', attempt, `slot ${slot} answered a key that belongs to slot ${wanted}`))
  }
  return findings
}

/**
 * The same without the routers' arithmetic, so that a fault in it is seen: a client may be answered by another slot than
 * before only if one of the two was down, left or joined meanwhile, or if sessions were rebalanced: once, if it is older
 * than that, from a slot that sheds to one that does not (R8.3). Who is to go to a slot that leaves goes somewhat later.
 */
export function movedWithoutCause(history: Attempt[], world: World): Finding[] {
  const times = tableTimes(world)
  const last = new Map<string, Attempt>()
  const bornAt = new Map<string, number>()
  /** Of sessions that a rebalance may have moved, its epoch. */
  const rebalanced = new Map<string, number>()
  const findings: Finding[] = []
  // By the end, so that what was asked together is compared with what had been answered before.
  for (const attempt of history.toSorted((a, b) => a.endedAt - b.endedAt)) {
    if (attempt.slot === null) continue
    const before = last.get(attempt.client)
    last.set(attempt.client, attempt)
    if (before === undefined) bornAt.set(attempt.client, attempt.startedAt)
    if (before?.slot == null || before.slot === attempt.slot || attempt.key === null) continue
    const [from, to] = [before.startedAt, attempt.endedAt]
    const rebalance =
      attempt.kind === 'browser' ? rebalanceOf(attempt, bornAt.get(attempt.client) as number, world) : null
    const mayShed = rebalance !== null && sheds(rebalance, before.slot) && !sheds(rebalance, attempt.slot)
    const first = rebalance !== null && rebalanced.get(attempt.client) !== rebalance.epoch
    if (rebalance !== null) rebalanced.set(attempt.client, rebalance.epoch)
    if (mayBeDown(world, before.slot, from, to) || mayBeDown(world, attempt.slot, from, to)) continue
    const tables = times.filter((time) => time.from <= to && time.to >= from).map(({ table }) => table)
    const stays = (slot: number) => tables.every((table) => slotsOf(table).includes(slot))
    const same = new Set(tables.map(({ rebalance }) => rebalance?.epoch)).size === 1
    if (
      !tables.every(({ affinity }) => affinity) ||
      !same ||
      (mayShed && first) ||
      !stays(before.slot) ||
      !stays(attempt.slot)
    )
      continue
    const words = `a session moved from slot ${before.slot} to ${attempt.slot}, and both had been there all the time`
    findings.push(finding('moved_needlessly', attempt, words))
  }
  return findings
}

/** The last rebalance of that time, if the session is older. */
function rebalanceOf(attempt: Attempt, bornAt: number, { tables }: World): Rebalance | null {
  const rebalance = tables.findLast(({ at }) => at - SKEW_MS <= attempt.endedAt)?.rebalance ?? null
  const since = tables.find((table) => table.rebalance?.epoch === rebalance?.epoch)?.at ?? 0
  return rebalance !== null && bornAt <= since + SKEW_MS ? rebalance : null
}

const sheds = ({ shed }: Rebalance, slot: number): boolean => (shed[slot] ?? 0) > 0

/** Keys that were replaced without need, and new keys that do not lead to where they were given. */
export function keysReplaced(history: Attempt[], world: World): Finding[] {
  const times = tableTimes(world)
  const findings: Finding[] = []
  for (const attempt of history) {
    const { key, newKey, slot } = attempt
    if (newKey === null || newKey === key) continue
    const minted = key !== null && attempt.kind === 'browser' && isMinted(key)
    if (key !== null && !minted) {
      findings.push(finding('key_replaced', attempt, `a key that the client chose was replaced by ${newKey}`))
      continue
    }
    if (key !== null && expectedOf(attempt, world, times)?.mayMove === false) {
      findings.push(finding('key_replaced', attempt, 'the key of a session that had not to move was replaced'))
    }
    const normal = keyFromCookie(newKey)
    if (slot === null || normal === null) continue
    const homes = tablesOf(attempt, times).map((table) => pickSlot(digestKey(normal), slotsOf(table)))
    if (homes.length > 0 && !homes.includes(slot)) {
      findings.push(
        finding('key_replaced', attempt, `slot ${slot} gave a key that leads to slot ${homes.join(' or ')}`),
      )
    }
  }
  return findings
}

/** Rebalances that took more than they said (R8.3). */
export const beyondPlan = ({ rebalances }: World): Finding[] =>
  rebalances
    .filter(({ moved, atMost }) => moved !== null && moved > atMost)
    .map(({ at, moved, atMost }) => ({
      kind: 'rebalanced_beyond_plan' as const,
      at,
      message: `${moved} sessions were moved, ${atMost} at most by the plan`,
    }))

/**
 * Good answers to sessions that a rebalance was to move, while every router knew of it, and their own slot was there and the
 * one that they were to go to (R8.3): each of them should have moved by then.
 */
export function askedToMove(history: Attempt[], world: World, epoch: number): Attempt[] {
  const times = tableTimes(world)
  const first = times.findIndex(({ table }) => table.rebalance?.epoch === epoch)
  if (first === -1) return []
  const since = times[first - 1]?.to ?? -Infinity
  return history.filter(({ kind, key, slot, startedAt, endedAt }) => {
    if (kind !== 'browser' || key === null || slot === null || !isMinted(key) || startedAt <= since) return false
    const digest = digestKey(key)
    const tables = times.filter(({ from, to }) => from <= endedAt && to >= startedAt).map(({ table }) => table)
    return tables.every((table) => {
      const slots = slotsOf(table)
      const home = pickSlot(digest, slots)
      if (table.rebalance?.epoch !== epoch || !isShed(digest, home, table.rebalance)) return false
      const target = shedTarget(digest, slots, table.rebalance)
      return target !== -1 && ![home, target].some((one) => mayBeDown(world, one, startedAt, endedAt))
    })
  })
}

type Times = ReturnType<typeof tableTimes>

/** Null when nothing is known of that moment. */
function expectedOf(attempt: Attempt, world: World, times: Times): Expected | null {
  const tables = tablesOf(attempt, times)
  if (tables.length === 0 || attempt.key === null) return null
  const key = digestKey(attempt.key)
  const minted = attempt.kind !== 'header' && isMinted(attempt.key)
  const slots = new Set<number>()
  let mayMove = tables.length > 1 && new Set(tables.map((table) => pickSlot(key, slotsOf(table)))).size > 1
  for (const table of tables) {
    const serving = slotsOf(table)
    // Without affinity any instance is right.
    if (!table.affinity) for (const slot of serving) slots.add(slot)
    const ranked = rankSlots(key, serving)
    const home = ranked[0]
    if (home === undefined) continue
    // Its slot leaves, however long it takes to drain: who comes meanwhile gets a key for where the session goes on.
    const leaving = table.endpoints.filter(({ state }) => state === 'draining').map(({ slot }) => slot)
    if (leaving.includes(pickSlot(key, [...serving, ...leaving]))) mayMove = true
    if (minted && table.rebalance !== null && isShed(key, home, table.rebalance)) {
      const target = shedTarget(key, serving, table.rebalance)
      if (target !== -1) {
        slots.add(target)
        mayMove = true
      }
    }
    for (const slot of ranked) {
      slots.add(slot)
      if (!mayBeDown(world, slot, attempt.startedAt, attempt.endedAt)) break
      mayMove = true
    }
  }
  return { slots, mayMove }
}

const tablesOf = (attempt: Attempt, times: Times): SeenTable[] =>
  times.filter(({ from, to }) => from <= attempt.endedAt && to >= attempt.startedAt).map(({ table }) => table)

const slotsOf = (table: SeenTable): number[] =>
  table.endpoints.filter(({ state }) => state === 'serving').map(({ slot }) => slot)

export type Moves = { moved: number; sessions: number; bySlot: Record<number, number> }

/** How many sessions were answered elsewhere than before, by the slot that they left. */
export function countMoves(history: Attempt[]): Moves {
  const last = new Map<string, number>()
  const moves: Moves = { moved: 0, sessions: 0, bySlot: {} }
  for (const { client, slot, key } of history) {
    if (slot === null) continue
    const before = last.get(client)
    if (before === undefined) moves.sessions++
    else if (before !== slot && key !== null) {
      moves.moved++
      moves.bySlot[before] = (moves.bySlot[before] ?? 0) + 1
    }
    last.set(client, slot)
  }
  return moves
}

/** Instances with far less than their share of new sessions (R1.1); needs enough of them to tell. */
export function uneven(history: Attempt[], world: World): Finding[] {
  const [table] = world.tables
  if (table === undefined || world.tables.length > 1) return []
  const counts = new Map(slotsOf(table).map((slot) => [slot, 0]))
  const known = new Set<string>()
  for (const { client, slot } of history) {
    if (slot === null || known.has(client)) continue
    known.add(client)
    counts.set(slot, (counts.get(slot) ?? 0) + 1)
  }
  const share = known.size / counts.size
  // Five standard deviations below the mean: never by chance.
  const least = share - 5 * Math.sqrt(share)
  const at = history[0]?.startedAt ?? 0
  return [...counts]
    .filter(([, count]) => count < least)
    .map(([slot, count]) => ({
      kind: 'uneven' as const,
      at,
      message: `slot ${slot} got ${count} of ${known.size} new sessions; its share is ${Math.round(share)}`,
    }))
}
