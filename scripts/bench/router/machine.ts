import { type ChildProcess, execFileSync, fork, spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'

/** Which cores the parts of the bench run on; without enough of them, or without taskset, nothing is pinned. */
export type Cores = { proxy: string; origin: string; load: string } | null

export function cores(proxyCores = 1): Cores {
  if (spawnSync('taskset', ['--version']).status !== 0) return null
  const n = availableParallelism()
  if (n < proxyCores + 2) return null
  const proxy = proxyCores === 1 ? '0' : `0-${proxyCores - 1}`
  return { proxy, origin: String(proxyCores), load: `${proxyCores + 1}-${n - 1}` }
}

const pinned = (core: string | undefined, command: string, args: string[]): [string, string[]] =>
  core === undefined ? [command, args] : ['taskset', ['-c', core, command, ...args]]

/** Starts a process and waits for its first line. */
export async function start(core: string | undefined, command: string, args: string[]) {
  const child = spawn(...pinned(core, command, args), { stdio: ['ignore', 'pipe', 'inherit'] })
  const line = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve)
    child.once('exit', (code) => reject(new Error(`${command} ${args[0]} ended with ${code}`)))
  })
  return { child, line }
}

export function forkPinned(core: string | undefined, file: string): ChildProcess {
  const child = fork(file)
  if (core !== undefined) execFileSync('taskset', ['-a', '-c', '-p', core, String(child.pid)], { stdio: 'ignore' })
  return child
}

export const available = (command: string): boolean => spawnSync('which', [command]).status === 0

/** All processes below and including this one. */
export function family(pid: number): number[] {
  const parents = new Map<number, number[]>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      const parent = Number(stat(Number(entry))[1])
      parents.set(parent, [...(parents.get(parent) ?? []), Number(entry)])
    } catch {
      // It ended meanwhile.
    }
  }
  const all = [pid]
  for (const one of all) all.push(...(parents.get(one) ?? []))
  return all
}

/** Fields of /proc/<pid>/stat behind the name, which may hold spaces. */
function stat(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

/** CPU time in seconds that these processes have used, in user and kernel mode; ticks are 10 ms on Linux. */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0
  for (const pid of pids) {
    try {
      const fields = stat(pid)
      ticks += Number(fields[11]) + Number(fields[12])
    } catch {
      // It ended meanwhile.
    }
  }
  return ticks / 100
}

export function residentBytes(pids: readonly number[]): number {
  let pages = 0
  for (const pid of pids) pages += Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1])
  return pages * 4096
}
