/** The log of a build: one file a deployment, in the folder of the app's logs. */
import { join } from 'node:path'
import { openLineFile } from '../logging/line-output.ts'

/** A build that prints more than this has its log cut, with a word at the end. */
const MAX_BYTES = 5 * 1024 * 1024

/** No build fails for its log: on a full disk lines are missing in it, and it says how many. */
export function openBuildLog(logsDir: string, app: string, deployment: string) {
  const file = openLineFile(
    join(logsDir, app, `build-${deployment}.log`),
    (lost, why) => `coppice: ${lost} lines were lost here: ${why}`,
  )
  let bytes = 0
  return {
    write(line: string): void {
      if (bytes > MAX_BYTES) return
      bytes += line.length + 1
      file.write(bytes > MAX_BYTES ? 'coppice: the rest of this log was cut off\n' : `${line}\n`)
    },
    close: (): void => file.close(),
  }
}
