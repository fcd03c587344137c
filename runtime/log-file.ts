import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, readdir, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { asDiskFull } from '../domain/disk-full.ts'
import { newestFirst } from '../domain/spans.ts'
import { removeTree } from './artifacts/trees.ts'
import { eachApart } from './each-apart.ts'
import { openRegular, readAt } from './regular-file.ts'

/**
 * The log of one instance: a file that the app's own stdout and stderr are, so that nothing is lost when the worker
 * dies. Bounded by copy-truncate: the app keeps its descriptor, and because that was opened with O_APPEND it goes on
 * at the new end. What an app writes between the copy and the truncation, usually well under a millisecond, is lost.
 *
 * The app can put anything in the place of its log, so nothing here opens a name without looking at what it opened.
 */

/** Longer lines are cut in what people are shown; the file keeps them whole. */
const MAX_LINE_CHARS = 2_000
/** How far back the last lines are looked for. */
const TAIL_BYTES = 128 * 1024
/** A log that is rotated is copied in pieces of this size. */
const COPY_BYTES = 1024 * 1024
const NEWLINE = 0x0a

export const olderLog = (path: string): string => `${path}.1`

/** A descriptor for the child; the caller closes its own copy after the spawn. Mode 0600: apps log secrets. */
export async function openLog(path: string): Promise<FileHandle> {
  await mkdir(dirname(path), { recursive: true })
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND
  const found = await openRegular(path, flags, 0o600)
  if (found !== null) return found
  // What the app left there instead must not keep it from being started again.
  await removeTree(path)
  return open(path, flags | constants.O_EXCL, 0o600)
}

/** The last `count` lines, oldest first; none when there is no log, or none that can be read. */
export async function lastLines(path: string, count: number): Promise<string[]> {
  let lines = toLines(await tail(path, TAIL_BYTES))
  if (lines.length < count) lines = [...toLines(await tail(olderLog(path), TAIL_BYTES)), ...lines]
  return count > 0 ? lines.slice(-count) : []
}

/**
 * What is in a log from `position` on, at most `length` bytes. One that is not there yet, or not any more, is empty; what
 * is there and is no log is an error: who follows it would wait for ever.
 */
export async function readLog(path: string, position: number, length: number): Promise<Buffer> {
  const file = await openFollowed(path)
  if (file === null) return Buffer.alloc(0)
  return readAt(file, position, length).finally(() => file.close())
}

/** How large a log is, in bytes; one that is not there is empty. */
export async function logSize(path: string): Promise<number> {
  const found = await lstat(path).catch(ifMissing)
  if (found === null) return 0
  if (!found.isFile()) throw noLog(path)
  return found.size
}

async function openFollowed(path: string): Promise<FileHandle | null> {
  const file = await openRegular(path, constants.O_RDONLY)
  if (file === null && (await lstat(path).catch(ifMissing)) !== null) throw noLog(path)
  return file
}

const noLog = (path: string) => new Error(`${path} is not a file that can be read`)

function ifMissing(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null
  throw error
}

/**
 * Where to go on reading: the last `count` whole lines, and the offset behind them. A line that is half written is not
 * among them; it begins at the offset.
 */
export async function lastWholeLines(path: string, count: number): Promise<{ lines: string[]; end: number }> {
  const { bytes, start } = await lastBytes(await openFollowed(path), TAIL_BYTES)
  const whole = bytes.subarray(0, bytes.lastIndexOf(NEWLINE) + 1)
  // Cut into in the middle of a line, which is of no use.
  const from = start === 0 ? 0 : whole.indexOf(NEWLINE) + 1
  let lines = toLines(whole.toString('utf8', from))
  if (lines.length < count && start === 0) lines = [...toLines(await tail(olderLog(path), TAIL_BYTES)), ...lines]
  return { lines: count > 0 ? lines.slice(-count) : [], end: start + whole.length }
}

/**
 * Makes room when the log has grown past `maxBytes`: its last `maxBytes` become the older log, the rest goes. Copies
 * whole unless the app ran far ahead of us.
 */
export async function rotateLog(path: string, maxBytes: number): Promise<'rotated' | 'small'> {
  const log = await openRegular(path, constants.O_RDWR)
  if (log === null) return 'small'
  try {
    const { size } = await log.stat()
    if (size <= maxBytes) return 'small'
    try {
      await keep(log, path, size <= 2 * maxBytes ? 0 : size - maxBytes, 2 * maxBytes)
    } catch (error) {
      // On a full disk there is nowhere to copy to: losing old lines is what frees it (R1.6).
      if (asDiskFull(error) === null) throw error
    }
    await log.truncate(0)
  } finally {
    await log.close()
  }
  return 'rotated'
}

/** Makes what is in the log from `from` on, at most `maxBytes` and without a piece of a line, the older log. */
async function keep(log: FileHandle, path: string, from: number, maxBytes: number): Promise<void> {
  const draft = `${path}.rotating`
  await removeTree(draft)
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      for (let at = from; at < from + maxBytes; ) {
        const chunk = await readAt(log, at, Math.min(COPY_BYTES, from + maxBytes - at))
        if (chunk.length === 0) break
        await file.writeFile(at === from && from > 0 ? chunk.subarray(chunk.indexOf(NEWLINE) + 1) : chunk)
        at += chunk.length
      }
    } finally {
      await file.close()
    }
    await rename(draft, olderLog(path)).catch(async () => {
      await removeTree(olderLog(path))
      await rename(draft, olderLog(path))
    })
  } catch (error) {
    await removeTree(draft)
    throw error
  }
}

/** Removes logs of instances that are no more, once they are too old or too many (R14.4). */
export async function pruneLogs(
  folder: string,
  options: { inUse: ReadonlySet<string>; maxAgeMs: number; maxFiles: number; now: number },
): Promise<void> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.log'))
  const idle = names.filter((name) => !options.inUse.has(name.slice(0, -'.log'.length)))
  const dated = await Promise.all(
    idle.map(async (name) => {
      const path = join(folder, name)
      const at = await lstat(path).then(
        (found) => found.mtimeMs,
        () => options.now,
      )
      return { path, at }
    }),
  )
  const byTime = newestFirst(options.now)
  dated.sort((a, b) => byTime(a.at, b.at))
  const doomed = dated.filter(({ at }, rank) => options.now - at > options.maxAgeMs || rank >= options.maxFiles)
  const paths = doomed.flatMap(({ path }) => [path, olderLog(path)])
  await eachApart(paths, removeTree)
}

function toLines(text: string): string[] {
  const lines = text.split(/\r?\n/)
  if (lines.at(-1) === '') lines.pop()
  return lines.map((line) => (line.length > MAX_LINE_CHARS ? `${line.slice(0, MAX_LINE_CHARS)}…` : line))
}

/** The end of a file, from the start of a line. */
async function tail(path: string, bytes: number): Promise<string> {
  const { bytes: found, start } = await lastBytes(await openRegular(path, constants.O_RDONLY), bytes)
  const text = found.toString('utf8')
  return start === 0 ? text : text.slice(text.indexOf('\n') + 1)
}

/** The end of a file, which it closes, and where it begins; nothing when there is no file. */
async function lastBytes(file: FileHandle | null, bytes: number): Promise<{ bytes: Buffer; start: number }> {
  if (file === null) return { bytes: Buffer.alloc(0), start: 0 }
  try {
    const { size } = await file.stat()
    const start = Math.max(0, size - bytes)
    return { bytes: await readAt(file, start, size - start), start }
  } finally {
    await file.close()
  }
}
