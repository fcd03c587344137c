/**
 * Spans of time by a clock that somebody may set (R13.8). A time that was written down says little when the clock has
 * jumped since: what lies in the future has just begun, and nothing is waited for longer than it lasts. What waits within
 * one process does not ask that clock at all, but a monotonic one.
 */

/** How long ago `since` was, in ms. */
export const elapsedMs = (since: number, now: number): number => Math.max(now - since, 0)

/** What is left, in ms, of a span of `lengthMs` that ends at `until`: never more than all of it. */
export const remainingMs = (until: number, lengthMs: number, now: number): number =>
  Math.min(Math.max(until - now, 0), lengthMs)
