/**
 * What a supervisor looks at that has named a file (`COPPICE_READY_FILE`): our pid in it once we do our work, and its
 * time, which shows that we do not hang.
 */
import { closeSync, constants, openSync, statSync, utimes, writeSync } from 'node:fs'

const TOUCH_MS = 5_000
/** While it cannot be written, in ms. */
const RETRY_MS = 1_000
/** Longer than any pid. A file of this length can be written in place when the disk is full. */
const LENGTH = 16

export type ReadyFile = {
  /** Writes the pid down, now or as soon as it can be. */
  sayReady(): void
}

/** Touches the file from now on; without one it does nothing. */
export function readyFile(path: string | undefined): ReadyFile {
  if (path === undefined) return { sayReady: () => {} }
  setInterval(() => utimes(path, new Date(), new Date(), () => {}), TOUCH_MS).unref()
  const sayReady = (): void => {
    try {
      writeInPlace(path, String(process.pid).padEnd(LENGTH), 0)
    } catch {
      setTimeout(sayReady, RETRY_MS).unref()
    }
  }
  return { sayReady }
}

/**
 * Gives the file its length while there is room, so that a process which is started on a full disk can still say that it
 * serves. What stands in it stays: a process that is adopted has written it.
 */
export function reserveReadyFile(path: string): void {
  try {
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
    if (size < LENGTH) writeInPlace(path, ' '.repeat(LENGTH - size), size)
  } catch {
    // Then its process says it as soon as there is room.
  }
}

/** Not emptied first: what a file has it need not be given. */
function writeInPlace(path: string, text: string, at: number): void {
  const descriptor = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o600)
  try {
    writeSync(descriptor, text, at)
  } finally {
    closeSync(descriptor)
  }
}
