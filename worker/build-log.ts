/** The log of a deployment's builds: one file, in the folder of the app's logs. */
import { lstatSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { openLineFile } from '../logging/line-output.ts'

/** Of one file, with all that was built again of its deployment. A build that prints more has its log cut, and says so. */
export const MAX_BUILD_LOG_BYTES = 5 * 1024 * 1024

const CUT = 'coppice: the rest of this log was cut off'

/** No build fails for its log: on a full disk lines are missing in it, and it says how many. */
export function openBuildLog(logsDir: string, app: string, deployment: string) {
  const path = join(logsDir, app, `build-${deployment}.log`)
  let bytes = makeRoom(path)
  let isCut = false
  const file = openLineFile(path, (lost, why) => `coppice: ${lost} lines were lost here: ${why}`)
  return {
    write(line: string): void {
      if (isCut) return
      const size = Buffer.byteLength(line) + 1
      isCut = bytes + size + CUT.length + 1 > MAX_BUILD_LOG_BYTES
      bytes += size
      file.write(`${isCut ? CUT : line}\n`)
    },
    close: (): void => file.close(),
  }
}

/**
 * What earlier builds of the deployment wrote stays where it leaves half of the room to the next one, which is the one
 * that people ask about. @returns the bytes that are there.
 */
function makeRoom(path: string): number {
  try {
    const found = lstatSync(path)
    // Apps run as our user: to open a named pipe would wait for its other end, and a link leads elsewhere.
    if (found.isFile() && found.size <= MAX_BUILD_LOG_BYTES / 2) return found.size
    rmSync(path, { recursive: true, force: true })
  } catch {
    // There is none, or the lines are lost, which the log says once it can.
  }
  return 0
}
