/** Chance that can be repeated: the same seed always draws the same. */
export type Random = {
  /** A whole number from 0 to n − 1. */
  below(n: number): number
  pick<T>(from: readonly T[]): T
  shuffled<T>(list: readonly T[]): T[]
}

/** Tommy Ettinger's mulberry32: 32 bits of state are plenty for drawing test cases. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number): number => Math.floor(next() * n)
  return {
    below,
    pick: (from) => from[below(from.length)] as (typeof from)[number],
    shuffled: (list) => {
      const copy = [...list]
      for (let i = copy.length - 1; i > 0; i--) {
        const j = below(i + 1)
        ;[copy[i], copy[j]] = [copy[j] as (typeof copy)[number], copy[i] as (typeof copy)[number]]
      }
      return copy
    },
  }
}

/** `COPPICE_CRASH_SEED`, or a new one. */
export const seedFrom = (env: NodeJS.ProcessEnv): number =>
  env.COPPICE_CRASH_SEED === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(env.COPPICE_CRASH_SEED)
