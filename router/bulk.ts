/**
 * Bytes relayed between two collections. Each piece that is read lies outside V8's heap, up to 64 kB behind an object
 * of a few bytes, so that V8 sees no reason to collect while the process grows by 80 MB. A smaller young generation
 * (4 MB) would do as well, but costs every small request 5 to 10 % CPU; this costs bulk transfers about 1 ms each 16 MB.
 */
const COLLECT_EVERY_BYTES = 16 * 1024 * 1024

export type CollectMinor = () => void

/** Keeps large bodies from growing the process; counts what passes. */
export class Bulk {
  private relayedBytes = 0
  private readonly collect: CollectMinor

  constructor(collect: CollectMinor) {
    this.collect = collect
  }

  relayed(bytes: number): void {
    this.relayedBytes += bytes
    if (this.relayedBytes < COLLECT_EVERY_BYTES) return
    this.relayedBytes = 0
    // Not in the middle of what is being relayed.
    setImmediate(this.collect)
  }
}

/** The collector of this process, if it was started with --expose-gc; else nothing. */
export function minorCollector(): CollectMinor {
  const { gc } = globalThis
  return gc === undefined ? () => undefined : () => gc({ type: 'minor', execution: 'sync' })
}
