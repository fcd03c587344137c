import { constants } from 'node:fs'
import { copyFile, type FileHandle, mkdir, open, readdir, rename, rm, stat, truncate } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { asDiskFull } from '../domain/disk-full.ts'

/**
 * The log of one instance: a file that the app's own stdout and stderr are, so that nothing is lost when the worker
 * dies. Bounded by copy-truncate: the app keeps its descriptor, and because that was opened with O_APPEND it goes on
 * at the new end. What an app writes between the copy and the truncation, usually well under a millisecond, is lost.
 */

/** Longer lines are cut in what people are shown; the file keeps them whole. */
const MAX_LINE_CHARS = 2_000
/** How far back the last lines are looked for. */
const TAIL_BYTES = 128 * 1024
const NEWLINE = 0x0a

export const olderLog = (path: string): string => `${path}.1`

/** A descriptor for the child; the caller closes its own copy after the spawn. Mode 0600: apps log secrets. */
export async function openLog(path: string): Promise<FileHandle> {
  await mkdir(dirname(path), { recursive: true })
  return open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600)
}

/** The last `count` lines, oldest first; none when there is no log. */
export async function lastLines(path: string, count: number): Promise<string[]> {
  let lines = toLines(await tail(path, TAIL_BYTES))
  if (lines.length < count) lines = [...toLines(await tail(olderLog(path), TAIL_BYTES)), ...lines]
  return count > 0 ? lines.slice(-count) : []
}

/**
 * Where to go on reading: the last `count` whole lines, and the offset behind them. A line that is half written is not
 * among them; it begins at the offset.
 */
export async function lastWholeLines(path: string, count: number): Promise<{ lines: string[]; end: number }> {
  const { bytes, start } = await lastBytes(path, TAIL_BYTES)
  const whole = bytes.subarray(0, bytes.lastIndexOf(NEWLINE) + 1)
  // Cut into in the middle of a line, which is of no use.
  const from = start === 0 ? 0 : whole.indexOf(NEWLINE) + 1
  let lines = toLines(whole.toString('utf8', from))
  if (lines.length < count && start === 0) lines = [...toLines(await tail(olderLog(path), TAIL_BYTES)), ...lines]
  return { lines: count > 0 ? lines.slice(-count) : [], end: start + whole.length }
}

/**
 * Makes room when the log has grown past `maxBytes`: its last `maxBytes` become the older log, the rest goes. Copies
 * whole (and by reflink, where the file system can) unless the app ran far ahead of us.
 */
export async function rotateLog(path: string, maxBytes: number): Promise<'rotated' | 'small'> {
  const size = await sizeOf(path)
  if (size <= maxBytes) return 'small'
  const draft = `${path}.rotating`
  try {
    if (size <= 2 * maxBytes) {
      await copyFile(path, draft, constants.COPYFILE_FICLONE)
    } else {
      const file = await open(draft, 'w', 0o600)
      await file.writeFile(await tail(path, maxBytes)).finally(() => file.close())
    }
    await rename(draft, olderLog(path))
  } catch (error) {
    // On a full disk there is nowhere to copy to: losing old lines is what frees it (R1.6).
    await rm(draft, { force: true })
    if (asDiskFull(error) === null) throw error
  }
  await truncate(path, 0)
  return 'rotated'
}

/** Removes logs of instances that are no more, once they are too old or too many (R14.4). */
export async function pruneLogs(
  folder: string,
  options: { inUse: ReadonlySet<string>; maxAgeMs: number; maxFiles: number; now: number },
): Promise<void> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.log'))
  const idle = names.filter((name) => !options.inUse.has(name.slice(0, -'.log'.length)))
  const aged = await Promise.all(
    idle.map(async (name) => {
      const path = join(folder, name)
      const age =
        options.now -
        (await stat(path).then(
          (found) => found.mtimeMs,
          () => options.now,
        ))
      return { path, age }
    }),
  )
  aged.sort((a, b) => a.age - b.age)
  const doomed = aged.filter(({ age }, rank) => age > options.maxAgeMs || rank >= options.maxFiles)
  for (const { path } of doomed) {
    await rm(path, { force: true })
    await rm(olderLog(path), { force: true })
  }
}

function toLines(text: string): string[] {
  const lines = text.split(/\r?\n/)
  if (lines.at(-1) === '') lines.pop()
  return lines.map((line) => (line.length > MAX_LINE_CHARS ? `${line.slice(0, MAX_LINE_CHARS)}…` : line))
}

/** The end of a file, from the start of a line. */
async function tail(path: string, bytes: number): Promise<string> {
  const { bytes: found, start } = await lastBytes(path, bytes)
  const text = found.toString('utf8')
  return start === 0 ? text : text.slice(text.indexOf('\n') + 1)
}

/** The end of a file and where it begins; nothing when there is no file. */
async function lastBytes(path: string, bytes: number): Promise<{ bytes: Buffer; start: number }> {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { bytes: Buffer.alloc(0), start: 0 }
    throw error
  }
  try {
    const { size } = await file.stat()
    const start = Math.max(0, size - bytes)
    const buffer = Buffer.alloc(size - start)
    const { bytesRead } = await file.read(buffer, 0, buffer.length, start)
    return { bytes: buffer.subarray(0, bytesRead), start }
  } finally {
    await file.close()
  }
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    (found) => found.size,
    () => 0,
  )
}
