/** How the CLI speaks: results on stdout, everything on the way there on stderr, so that results can be piped. */
import type { Writable } from 'node:stream'
import { createColors } from 'picocolors'

export type Colors = ReturnType<typeof createColors>

export type Streams = { stdout: Writable; stderr: Writable & { isTTY?: boolean; columns?: number } }

export class Output {
  readonly json: boolean
  readonly colors: Colors
  /** A terminal, whose last line can be written anew. */
  readonly live: boolean
  readonly #streams: Streams

  constructor(streams: Streams, options: { json: boolean; color: boolean }) {
    this.#streams = streams
    this.json = options.json
    this.live = streams.stderr.isTTY === true && !options.json
    this.colors = createColors(options.color)
  }

  /** The result, in the form that was asked for. */
  result(value: unknown, lines: string[]): void {
    this.#streams.stdout.write(
      this.json ? `${JSON.stringify(value, null, 2)}\n` : lines.map((line) => `${line}\n`).join(''),
    )
  }

  line(text: string): void {
    this.#streams.stdout.write(`${text}\n`)
  }

  /** What happens on the way; nothing with `--output json`. */
  note(text: string): void {
    if (!this.json) this.#streams.stderr.write(`${this.live ? CLEAR : ''}${text}\n`)
  }

  /** A line that the next `note` or `status` replaces; only on a terminal. */
  status(text: string): void {
    if (!this.live) return
    const width = (this.#streams.stderr.columns ?? 80) - 1
    this.#streams.stderr.write(
      `${CLEAR}${this.colors.dim(text.length > width ? `${text.slice(0, width - 1)}…` : text)}`,
    )
  }

  clearStatus(): void {
    if (this.live) this.#streams.stderr.write(CLEAR)
  }

  error(lines: string[]): void {
    this.clearStatus()
    const [first = '', ...rest] = lines
    this.#streams.stderr.write(`${this.colors.red('✗')} ${[first, ...rest].join('\n  ')}\n`)
  }
}

/** Carriage return, erase to the end of the line (ECMA-48 EL). */
const CLEAR = '\r\x1b[K'

/** Columns as wide as their widest cell; the last one as it is. */
export function table(header: string[], rows: string[][]): string[] {
  const widths = header.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]?.length ?? 0)))
  return [header, ...rows].map((row) =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
}

export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`
}

export function ago(time: string, now: number): string {
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000))
  if (seconds < 120) return `${seconds} s ago`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86_400)} d ago`
}
