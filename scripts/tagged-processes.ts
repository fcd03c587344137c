import { systemProcessTable } from '../runtime/providers/process/process-table.ts'

/** SIGKILL to every process that was started, by whatever detour, with this variable in its environment. */
export async function endTagged(variable: string, value: string): Promise<number[]> {
  const ended: number[] = []
  for (const { pid, values } of await systemProcessTable().tagged([variable])) {
    if (values[variable] !== value || pid === process.pid) continue
    try {
      process.kill(pid, 'SIGKILL')
      ended.push(pid)
    } catch {
      // It has ended by itself.
    }
  }
  return ended
}
