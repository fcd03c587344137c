import { accessSync, constants } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * Directories of the platform's own programs for apps and builds: of the Node that runs Coppice, and of npm where it
 * lies elsewhere. `env` is asked for npm's place only.
 */
export function toolPath(execPath: string, env: Readonly<Record<string, string | undefined>>): string[] {
  const node = dirname(execPath)
  const npm = findProgram('npm', [node, ...(env.PATH ?? '').split(':')])
  return npm === null || dirname(npm) === node ? [node] : [node, dirname(npm)]
}

/** Absolute path of the first executable of this name, or null. */
export function findProgram(name: string, directories: readonly string[]): string | null {
  for (const directory of directories) {
    if (!directory.startsWith('/')) continue
    const path = join(directory, name)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // Not there; look on.
    }
  }
  return null
}
