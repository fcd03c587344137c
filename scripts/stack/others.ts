import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError } from '../../domain/errors.ts'
import { isAlive, systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import { homePaths } from '../stack-options.ts'
import { readState } from './state-file.ts'
import { platformOn } from './strays.ts'

/** What was just killed gives its lock back first, and leaves the table, with its children, a moment later. */
const LEAVE_MS = 3_000

/**
 * The locks lie in `run/`, so whoever removes that while a platform runs makes them free for a second one. Two
 * supervisors then take each other's ports and start again what the other has ended. Whoever has got the lock therefore
 * looks for a starter that lives, and for processes of which the state file does not tell, before it starts anything.
 *
 * @throws CoppiceError InvalidInput
 */
export async function refuseOthers(home: string): Promise<void> {
  for (const end = performance.now() + LEAVE_MS; ; await sleep(100)) {
    const pid = await otherOn(home)
    if (pid === null) return
    if (performance.now() < end) continue
    throw new CoppiceError(
      'InvalidInput',
      `A platform (pid ${pid}) runs on ${home}, of which run/ knows no more (was that removed?): coppice down, then npm start`,
      { field: 'home' },
    )
  }
}

async function otherOn(home: string): Promise<number | null> {
  const state = readState(homePaths(home).state)
  const starter = state?.starter
  // This process, if an earlier start of its own was given up.
  if (starter !== undefined && starter.pid !== process.pid)
    if (await isAlive(systemProcessTable(), starter.pid, starter.startTime)) return starter.pid
  const named = Object.values(state?.processes ?? {})
  const unnamed = (await platformOn(home)).filter(
    (stray) => !named.some(({ pid, startTime }) => pid === stray.pid && startTime === stray.startTime),
  )
  return (unnamed.find(({ name }) => name === 'starter') ?? unnamed[0])?.pid ?? null
}
