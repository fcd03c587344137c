import { execFile } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import type { Logger } from 'pino'

const run = promisify(execFile)

/**
 * What is put before the command of an app. Root ignores file modes by its capabilities (CAP_DAC_OVERRIDE): a sealed
 * layer is read-only to an app only once they are gone. Anybody else has none to lose. This keeps accidents apart,
 * not attackers: the process tier is for code you trust (DESIGN D18).
 */
export async function confinement(options: {
  uid: number
  platform: NodeJS.Platform
  path: string
  logger: Pick<Logger, 'warn'>
}): Promise<string[]> {
  if (options.uid !== 0) return []
  const because = 'apps run with the capabilities of root and can write into their sealed packages'
  if (options.platform !== 'linux') {
    options.logger.warn(`${because}: start Coppice as another user`)
    return []
  }
  const setpriv = await findTool('setpriv', options.path)
  if (!setpriv) {
    options.logger.warn(`${because}: install util-linux (setpriv), or start Coppice as another user`)
    return []
  }
  // `--` because the command comes next. Not --pdeathsig: instances outlive their worker.
  const prefix = [setpriv, '--bounding-set=-all', '--inh-caps=-all', '--no-new-privs', '--']
  try {
    await run(setpriv, [...prefix.slice(1), 'true'])
    return prefix
  } catch (error) {
    options.logger.warn({ err: error }, `${because}: setpriv may not drop capabilities here`)
    return []
  }
}

async function findTool(name: string, path: string): Promise<string | null> {
  for (const folder of path.split(delimiter)) {
    const candidate = join(folder || '.', name)
    const usable = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (usable) return candidate
  }
  return null
}
