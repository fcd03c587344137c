/** The log of a build: one file a deployment, in the folder of the app's logs. */
import { createWriteStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'

/** A build that prints more than this has its log cut, with a word at the end. */
const MAX_BYTES = 5 * 1024 * 1024

export async function openBuildLog(logsDir: string, app: string, deployment: string) {
  const folder = join(logsDir, app)
  await mkdir(folder, { recursive: true })
  const stream = createWriteStream(join(folder, `build-${deployment}.log`), { flags: 'a' })
  let bytes = 0
  return {
    write(line: string): void {
      if (bytes > MAX_BYTES) return
      bytes += line.length + 1
      stream.write(bytes > MAX_BYTES ? 'coppice: the rest of this log was cut off\n' : `${line}\n`)
    },
    async close(): Promise<void> {
      stream.end()
      await finished(stream)
    },
  }
}
