import { RECORD_LINES_BYTES } from './limits.ts'

/** For the words in place of what is left out. */
const RESERVE_BYTES = 128

/** The newest of `lines` that fit into one record; in place of those that do not a line says how many they are. */
export function keptLines(lines: readonly string[]): string[] {
  if (2 + sum(lines.map(sizeOf)) <= RECORD_LINES_BYTES) return [...lines]
  let room = RECORD_LINES_BYTES - RESERVE_BYTES
  let from = lines.length
  while (from > 0 && sizeOf(lines[from - 1] as string) <= room) room -= sizeOf(lines[--from] as string)
  const kept = lines.slice(from)
  if (kept.length === 0) kept.push(endOf(lines[--from] as string, room))
  if (from === 0) return kept
  return [`(${from} earlier ${from === 1 ? 'line is' : 'lines are'} left out here)`, ...kept]
}

/** As an element of an array in JSON: control characters take six bytes there. */
const sizeOf = (line: string): number => Buffer.byteLength(JSON.stringify(line)) + 1

const sum = (sizes: number[]): number => sizes.reduce((a, b) => a + b, 0)

/** Halved until it fits. */
function endOf(line: string, room: number): string {
  // No character takes less than a byte.
  let end = line.slice(-room)
  while (sizeOf(`…${end}`) > room) end = end.slice(Math.ceil(end.length / 2))
  // The cut may have gone through a pair of surrogates.
  return `…${/^[\udc00-\udfff]/.test(end) ? end.slice(1) : end}`
}
