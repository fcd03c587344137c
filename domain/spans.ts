/**
 * Spans of time by a clock that somebody may set (R13.8). A time that was written down says little when the clock has
 * jumped since: what lies in the future has just begun, and nothing is waited for longer than it lasts. What waits within
 * one process does not ask that clock at all, but a monotonic one.
 */

/** How long ago `since` was, in ms. */
export const elapsedMs = (since: number, now: number): number => Math.max(now - since, 0)

/**
 * Newest first, for times that tell what may go. What is dated later than now was dated by a clock that was wrong: it
 * comes last, and pushes out nothing that is dated by the right one. Some moments off is what a file server may be.
 */
export const newestFirst =
  (now: number) =>
  (a: number, b: number): number =>
    Number(isAhead(a, now)) - Number(isAhead(b, now)) || b - a

const AHEAD_MS = 60_000
const isAhead = (time: number, now: number): boolean => time - now > AHEAD_MS

/** What is left, in ms, of a span of `lengthMs` that ends at `until`: never more than all of it. */
export const remainingMs = (until: number, lengthMs: number, now: number): number =>
  Math.min(Math.max(until - now, 0), lengthMs)
