import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { systemProcessTable } from '../../runtime/providers/process/process-table.ts'

/** In the environment of all that a CI run starts, with the id of the user whose run it is. */
export const TAG = { COPPICE_CI_RUN: String(process.getuid?.()) }
const POLL_MS = 100
/** SIGKILL takes no longer, even of a process that waits for a disk. */
const END_TIMEOUT_MS = 10_000

/** What programs keep in a temporary directory for good: npm's compiled code, and a folder of PulseAudio's in Chromium. */
const KEPT = /^(node-compile-cache|pulse-\w+)$/

/** Processes that were started, by whatever detour, with the tag. */
export async function taggedPids(): Promise<number[]> {
  const found = await systemProcessTable().tagged(Object.keys(TAG))
  return found.filter(({ pid, values }) => isDeepStrictEqual(values, TAG) && pid !== process.pid).map(({ pid }) => pid)
}

/** Processes of a user, those that wiped their environment included; Linux only. */
export function pidsOf(uid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => {
      const status = /^\d+$/.test(name) ? textOf(`/proc/${name}/status`) : ''
      return new RegExp(`^Uid:\\s+${uid}\\s`, 'm').test(status) && !/^State:\s+Z/m.test(status)
    })
    .map(Number)
}

/** SIGKILL to all that `find` finds, until it finds none: whoever forks may be a step ahead. */
export async function endAll(find: () => Promise<number[]>): Promise<void> {
  for (const giveUp = performance.now() + END_TIMEOUT_MS; ; await sleep(POLL_MS)) {
    const pids = await find()
    if (pids.length === 0) return
    if (performance.now() > giveUp) throw new Error(`processes that cannot be ended: ${pids.join(', ')}`)
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It has ended by itself.
      }
    }
  }
}

/** What is still there after a while, each with its command. */
export async function outlived(find: () => Promise<number[]>, withinMs: number): Promise<string[]> {
  for (const giveUp = performance.now() + withinMs; ; await sleep(POLL_MS)) {
    const pids = await find()
    if (pids.length > 0 && performance.now() < giveUp) continue
    return pids.map((pid) => `${pid} ${textOf(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').slice(0, 200)}`)
  }
}

/** What is left in a temporary directory that only this run used. */
export function leftIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => !KEPT.test(name))
    .map((name) => join(folder, name))
}

/** What somebody has in the machine's temporary directory, by a program that does not heed TMPDIR. */
export function ownedInTmp(uid: number, except: string): string[] {
  return readdirSync(tmpdir())
    .map((name) => join(tmpdir(), name))
    .filter((path) => path !== except && lstatSync(path, { throwIfNoEntry: false })?.uid === uid)
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    // It has ended meanwhile.
    return ''
  }
}
