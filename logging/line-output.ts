/**
 * Where lines go that nobody may fail for: a log on a disk that can be full, or behind a pipe whose reader has gone or
 * does not read.
 *
 * A line that cannot be written is lost and counted; as soon as something can be written again, the first line says how
 * many were. A line is written whole or not at all: what a full disk cut in the middle is completed before anything
 * else. Nothing here throws, waits, or keeps a process alive.
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Writable } from 'node:stream'
import { isatty } from 'node:tty'

export type LineOutput = {
  /** One line or several, each with its line break. */
  write(lines: string): void
  /** Lines that were lost and not told of yet. */
  readonly lost: number
}

/** The line that tells of a loss, without its line break. */
export type LossLine = (lost: number, why: string) => string

/** From one attempt to the next while nothing can be written, in ms; a line in between costs no system call. */
const RETRY_MS = 250
/** What a reader that does not read may leave in memory, in bytes. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024
const LINE_BREAK = 0x0a

/** Standard output, whatever it is. */
export function standardOutput(lossLine: LossLine): LineOutput {
  outliveStandardStreams()
  const found = fstatSync(1)
  const isFile = found.isFile() || (found.isCharacterDevice() && !isatty(1))
  return isFile ? fileOutput((bytes) => writeSync(1, bytes), lossLine) : streamOutput(process.stdout, lossLine)
}

/**
 * Without a listener an error of these ends the process: a full disk, a terminal or a pipe that has gone. What was to
 * be said is lost then; what the process is there for goes on.
 */
export function outliveStandardStreams(): void {
  for (const stream of [process.stdout, process.stderr])
    if (stream.listenerCount('error', ignore) === 0) stream.on('error', ignore)
}

function ignore(): void {}

/** A file that lines are added to, made with its folder; where it cannot even be opened, every line is lost. */
export function openLineFile(path: string, lossLine: LossLine): LineOutput & { close(): void } {
  let descriptor: number | null = null
  const write = (bytes: Buffer): number => {
    descriptor ??= openToAppend(path)
    return writeSync(descriptor, bytes)
  }
  const output = fileOutput(write, lossLine)
  return {
    write: output.write,
    get lost() {
      return output.lost
    },
    close() {
      output.tell()
      if (descriptor !== null) closeSync(descriptor)
      descriptor = null
    },
  }
}

function openToAppend(path: string): number {
  mkdirSync(dirname(path), { recursive: true })
  return openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600)
}

/**
 * For what takes writes at once or refuses them, as files do: the bytes are with the kernel when `write` returns, so
 * the death of the process loses none.
 *
 * @param writeSome returns how many bytes it wrote; throws when it can write none
 */
export function fileOutput(
  writeSome: (bytes: Buffer) => number,
  lossLine: LossLine,
): LineOutput & { /** Tries now to complete a line and to tell what was lost. */ tell(): void } {
  let lost = 0
  let why = ''
  /** The end of a line whose beginning is in the file. */
  let rest: Buffer = Buffer.alloc(0)
  let notBefore = 0

  /** @returns how many bytes were written; fewer than all when nothing more can be at the moment. */
  const put = (bytes: Buffer): number => {
    let at = 0
    try {
      for (let wrote = 1; at < bytes.length && wrote > 0; at += wrote) wrote = writeSome(bytes.subarray(at))
    } catch (error) {
      why = (error as Error).message
    }
    return at
  }
  const settle = (): boolean => {
    if (rest.length > 0) {
      rest = rest.subarray(put(rest))
      if (rest.length > 0) return false
    }
    if (lost === 0) return true
    const line = Buffer.from(`${lossLine(lost, why)}\n`)
    const wrote = put(line)
    if (wrote === 0) return false
    lost = 0
    rest = line.subarray(wrote)
    return rest.length === 0
  }
  const putLines = (bytes: Buffer): boolean => {
    const wrote = put(bytes)
    if (wrote === bytes.length) return true
    const begun = wrote > 0 && bytes[wrote - 1] !== LINE_BREAK
    const end = begun ? bytes.indexOf(LINE_BREAK, wrote) + 1 : wrote
    rest = bytes.subarray(wrote, end)
    lost += linesIn(bytes.subarray(end))
    return false
  }
  const attempt = (bytes: Buffer): void => {
    if (performance.now() < notBefore || !settle()) lost += linesIn(bytes)
    else if (putLines(bytes)) return
    if (performance.now() >= notBefore) notBefore = performance.now() + RETRY_MS
    retry()
  }
  const retry = later(() => attempt(Buffer.alloc(0)))
  return {
    write: (lines) => attempt(Buffer.from(lines)),
    tell: () => void settle(),
    get lost() {
      return lost
    },
  }
}

/** For what takes its time, as pipes do: what waits for the reader is bounded. */
export function streamOutput(stream: Writable, lossLine: LossLine): LineOutput {
  let lost = 0
  let why = ''
  let notBefore = 0
  stream.on('error', ignore)

  const send = (text: string, lines: number): void => {
    stream.write(text, (error) => {
      if (error) lose(lines, error.message)
    })
  }
  const lose = (lines: number, reason: string): void => {
    lost += lines
    why = reason
    notBefore = performance.now() + RETRY_MS
    retry()
  }
  const tell = (): void => {
    if (lost === 0) return
    // Not before there is room again for more than this one line.
    if (stream.writableLength > MAX_WAITING_BYTES / 2) {
      retry()
      return
    }
    const told = lost
    lost = 0
    send(`${lossLine(told, why)}\n`, told)
  }
  const retry = later(tell)
  return {
    write(lines) {
      if (stream.writableLength > MAX_WAITING_BYTES) return lose(linesIn(lines), 'nobody reads them')
      if (performance.now() < notBefore) return lose(linesIn(lines), why)
      tell()
      send(lines, linesIn(lines))
    },
    get lost() {
      return lost
    },
  }
}

/** Once, after a pause, however often it is asked for meanwhile. */
function later(work: () => void): () => void {
  let asked = false
  return () => {
    if (asked) return
    asked = true
    setTimeout(() => {
      asked = false
      work()
    }, RETRY_MS).unref()
  }
}

function linesIn(text: string | Buffer): number {
  let count = 0
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count++
  return count
}
