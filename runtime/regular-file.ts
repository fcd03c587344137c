import { constants } from 'node:fs'
import { chmod, type FileHandle, lstat, open } from 'node:fs/promises'

const OURS = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'ENOSPC', 'EDQUOT'])

/** Whether an error says something of who opens, or of the disk; all others say something of the file. */
export const saysOurs = ({ code = '' }: NodeJS.ErrnoException): boolean => OURS.has(code)

/**
 * Opens a file in a place where an app can put something else: apps run as our user. A named pipe would hold a thread of
 * the pool until somebody opens its other end, and four such stop every call of the file system in this process; a link
 * could lead to what the app cannot read itself. Permissions that it took away from a file of ours are given back. Null
 * when there is no regular file there that can be opened.
 */
export async function openRegular(path: string, flags: number, mode?: number): Promise<FileHandle | null> {
  const first = await tryRegular(path, flags, mode)
  if (first !== 'EACCES') return first
  const isFile = await lstat(path).then(
    (found) => found.isFile(),
    () => false,
  )
  if (!isFile) return null
  await chmod(path, 0o600).catch(() => undefined)
  const second = await tryRegular(path, flags, mode)
  return second === 'EACCES' ? null : second
}

async function tryRegular(path: string, flags: number, mode?: number): Promise<FileHandle | 'EACCES' | null> {
  let file: FileHandle
  try {
    // A regular file takes no notice of O_NONBLOCK, now or later.
    file = await open(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, mode)
  } catch (error) {
    if (saysOurs(error as NodeJS.ErrnoException)) throw error
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? 'EACCES' : null
  }
  try {
    if ((await file.stat()).isFile()) return file
  } catch (error) {
    await file.close()
    throw error
  }
  await file.close()
  return null
}

/** The bytes of one from `position` on, at most `length`; none when it ends before. */
export async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position)
  return buffer.subarray(0, bytesRead)
}
