import { readFile } from 'node:fs/promises'

/** Resident memory of a process, in MB. */
export async function residentMb(pid: number): Promise<number> {
  return (Number((await readFile(`/proc/${pid}/statm`, 'utf8')).split(' ')[1]) * 4096) / 1e6
}
