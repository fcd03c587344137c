/** Histories and worlds for tests: three slots, one table from the beginning, all well. */
import { digestKey, rankSlots } from '../../domain/affinity.ts'
import type { Attempt } from '../history-line.ts'
import type { SeenTable, World } from './world.ts'

/** When the runs of the tests begin, Unix ms. */
export const T0 = 1_000_000

export const SLOTS = [0, 1, 2]

let count = 0

/** A key whose order of preference begins with these slots. */
export function keyFor(...slots: number[]): string {
  for (let i = 0; ; i++) {
    const key = `00000000-0000-4000-a000-${String(i).padStart(12, '0')}`
    const ranked = rankSlots(digestKey(key), SLOTS)
    if (slots.every((slot, index) => ranked[index] === slot)) return key
  }
}

export function attempt(more: Partial<Attempt> & { at?: number; took?: number } = {}): Attempt {
  const { at = 0, took = 10, ...rest } = more
  const slot = rest.slot === undefined ? 0 : rest.slot
  count += 1
  return {
    startedAt: T0 + at,
    endedAt: T0 + at + took,
    kind: 'cookie',
    client: 'c',
    key: slot === null ? null : keyFor(slot),
    newKey: null,
    method: 'GET',
    body: false,
    status: 200,
    instance: slot === null ? null : `a-1-${slot}`,
    slot,
    version: 'd1',
    id: `id${count}`,
    router: 0,
    error: null,
    stream: false,
    refusal: null,
    ...rest,
  }
}

/** A table of `deployment` on these slots, its instances named after it. */
export const table = (
  at: number,
  deployment = '1',
  slots: number[] = SLOTS,
  more: Partial<SeenTable> = {},
): SeenTable => ({
  at: T0 + at,
  version: at,
  affinity: true,
  rebalance: null,
  endpoints: slots.map((slot) => ({
    instance: `a-${deployment}-${slot}`,
    slot,
    state: 'serving' as const,
    deployment: `d${deployment}`,
  })),
  ...more,
})

export const world = (more: Partial<World> = {}): World => ({
  tables: [table(-10_000)],
  faults: [],
  operations: [],
  rebalances: [],
  versions: ['d1'],
  slowestMs: 400,
  ...more,
})
