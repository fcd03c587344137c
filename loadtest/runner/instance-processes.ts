/** Signals to the processes of an instance, where they are on this machine. */
import type { ProcessTable } from '../../runtime/providers/process/process-table.ts'
import type { InstanceAnswer } from './api.ts'

/** Every process of an instance has it in its environment, as docs/loadtest.md tells apps. */
const INSTANCE_VARIABLE = 'COPPICE_INSTANCE_ID'

/**
 * Whom a signal to this instance goes to: its process group, as a negative number, and whoever left that and carries its
 * mark. All of them, because who listens is often a child of the process that was started (`npm run start`, gunicorn).
 *
 * No address tells whether the platform is on this machine: a tunnel to another one ends on loopback, and there the same
 * pid is somebody else's process. So the one that the API names has to carry the mark of the instance.
 *
 * @returns none where it does not, or where the kernel does not show it to us
 */
export async function targetsOf(table: ProcessTable, { id, pid }: InstanceAnswer): Promise<number[]> {
  if (pid === undefined) return []
  const tagged = (await table.tagged([INSTANCE_VARIABLE]))
    .filter(({ values }) => values[INSTANCE_VARIABLE] === id)
    .map((process) => process.pid)
  if (!tagged.includes(pid)) return []
  const groups = new Map((await table.rows()).map((row) => [row.pid, row.group]))
  // Not the group of whoever started it by hand.
  if (groups.get(pid) !== pid) return tagged
  return [-pid, ...tagged.filter((one) => groups.get(one) !== pid)]
}

/** Those that have ended meanwhile are left out. */
export function signalAll(targets: number[], signal: NodeJS.Signals): void {
  for (const target of targets) {
    try {
      process.kill(target, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}
