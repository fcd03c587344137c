/** What every `scripts/bench/<name>.ts` exports: `bench(): Promise<BenchResult>` (DESIGN D19). */
export type BenchResult = { figures: Record<string, Figure> }

export type Figure = {
  value: number
  /** `ms`, `s`, `ratio`, `requests/s`, … */
  unit: string
  /** What the figure has to hold, e.g. `<= 20`; none where it is only told. */
  bar?: string
  /** Whether it does; left out where there is no bar. */
  holds?: boolean
  /** What is measured, in a few words. */
  what?: string
  /** Runs, spread, peers: whatever makes the figure worth believing. */
  detail?: unknown
}

/** A figure with a bar of the form `<= 20` or `>= 3`. */
export function figure(value: number, unit: string, bar: string, what: string, detail?: unknown): Figure {
  return { value, unit, bar, holds: holdsBar(value, bar), what, ...(detail !== undefined && { detail }) }
}

export function holdsBar(value: number, bar: string): boolean {
  const [, relation, limit] = /^(<=|>=|<|>|=) (-?\d+(?:\.\d+)?)$/.exec(bar) ?? []
  if (relation === undefined || limit === undefined) throw new Error(`"${bar}" is no bar; write e.g. "<= 20"`)
  const bound = Number(limit)
  if (Number.isNaN(value)) return false
  switch (relation) {
    case '<=':
      return value <= bound
    case '>=':
      return value >= bound
    case '<':
      return value < bound
    case '>':
      return value > bound
    default:
      return value === bound
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  if (sorted.length === 0) return Number.NaN
  if (sorted.length % 2 === 1) return sorted[Math.floor(middle)] as number
  return ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

/** The value that a quarter of them do not exceed; NaN of none. */
export function lowerQuartile(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.ceil(values.length / 4) - 1] ?? Number.NaN
}

/** Median, least and greatest, for `detail`. */
export function spread(values: readonly number[]): { runs: number; median: number; min: number; max: number } {
  return { runs: values.length, median: median(values), min: Math.min(...values), max: Math.max(...values) }
}
