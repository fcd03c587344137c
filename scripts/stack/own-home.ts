import { existsSync } from 'node:fs'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { homePaths } from '../stack-options.ts'

/** Data directories that a program has made for itself alone. */

/** Ends what runs on it and removes it, whatever has become of the program. */
export const removal = (home: string): string => `npx coppice --home ${home} down --purge`

/** Whether a stack that has ended, or did not come to be, has left nothing that it knows of. */
export const runsNothing = (home: string): boolean => !existsSync(homePaths(home).state)

/**
 * At the end of the program. What may run still keeps its data, and its logs say what it is; a token is for nobody now.
 *
 * @param how.stopped whether all that was started has ended
 * @param how.wantsLogs whether somebody will want to know what has happened
 * @returns lines for people, none where nothing is left
 */
export async function leaveHome(home: string, how: { stopped: boolean; wantsLogs: boolean }): Promise<string> {
  const { logs, token } = homePaths(home)
  if (how.stopped && !how.wantsLogs) {
    await removeTree(home)
    return ''
  }
  await removeTree(token)
  if (how.stopped) return `Logs: ${logs}\n`
  return `Something may run still; its logs: ${logs}\nThis ends and removes it: ${removal(home)}\n`
}
