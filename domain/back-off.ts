/** How long a crashed instance waits before it is started again (R12.9). */
export type BackOff = {
  /** Wait after the first crash in a row, in ms; doubles with each further one. */
  firstMs: number
  /** Never longer than this, in ms. */
  maxMs: number
  /** Up for this long, in ms, an instance has proved itself, and its crashes are forgotten. */
  resetAfterMs: number
}

export const DEFAULT_BACK_OFF: BackOff = { firstMs: 1_000, maxMs: 5 * 60_000, resetAfterMs: 10 * 60_000 }

/** Crashes in a row from which on people are told that it is a loop, and not an accident. */
export const CRASH_LOOP_FROM = 2

/** Crashes in a row, this one included, when it was up for `upMs` before. */
export function crashesInARow(before: number, upMs: number, backOff: BackOff = DEFAULT_BACK_OFF): number {
  return upMs >= backOff.resetAfterMs ? 1 : before + 1
}

/** The wait before the next start, in ms; 0 when there was no crash. */
export function restartDelayMs(crashes: number, backOff: BackOff = DEFAULT_BACK_OFF): number {
  if (crashes < 1) return 0
  // 2 ** 1024 is Infinity, which min() takes care of.
  return Math.min(backOff.firstMs * 2 ** (crashes - 1), backOff.maxMs)
}
