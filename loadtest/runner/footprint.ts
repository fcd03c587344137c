/** What a stack takes of the machine, to see what a long run leaves behind. Linux only: it reads /proc. */
import { existsSync } from 'node:fs'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Footprint } from '../check/leaks.ts'

/**
 * @param roots processes of the platform by their names; their children count as theirs
 * @param instances folder that holds one directory an instance
 * @returns null where there is no /proc
 */
export async function footprintOf(roots: Record<string, number>, instances: string): Promise<Footprint | null> {
  if (!existsSync('/proc/self/statm')) return null
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const parents = new Map<number, number>()
  let running = 0
  for (const pid of pids) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (parent === undefined || state === 'Z') continue
    parents.set(pid, Number(parent))
    // An instance stands in its own directory.
    if ((await readlink(`/proc/${pid}/cwd`).catch(() => '')).startsWith(`${instances}/`)) running++
  }
  const footprint: Footprint = {
    instanceProcesses: running,
    instanceDirectories: (await readdir(instances).catch(() => [])).filter((name) => !name.startsWith('.')).length,
    processes: {},
  }
  for (const [name, root] of Object.entries(roots)) {
    const family = pids.filter((pid) => pid === root || parents.get(pid) === root)
    let [megabytes, descriptors] = [0, 0]
    for (const pid of family) {
      megabytes +=
        Number(
          /^VmRSS:\s+(\d+)/m.exec(await readFile(join('/proc', String(pid), 'status'), 'utf8').catch(() => ''))?.[1] ??
            0,
        ) / 1024
      descriptors += (await readdir(join('/proc', String(pid), 'fd')).catch(() => [])).length
    }
    footprint.processes[name] = { megabytes: Math.round(megabytes), descriptors }
  }
  return footprint
}
