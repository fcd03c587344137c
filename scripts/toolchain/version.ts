import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** What a tool says about itself; throws when it does not run here. */
export async function askVersion(path: string, args: string[], env: NodeJS.ProcessEnv): Promise<string> {
  const { stdout, stderr } = await run(path, args, { timeout: 20_000, env: { ...env, NO_COLOR: '1' } })
  return `${stdout}${stderr}`
}

/** Compares dotted versions number by number; missing parts count as 0. */
export function compareVersions(left: string, right: string): number {
  const [a, b] = [left, right].map((text) => text.split('.').map((part) => Number.parseInt(part, 10) || 0))
  for (let index = 0; index < Math.max(a?.length ?? 0, b?.length ?? 0); index++) {
    const difference = (a?.[index] ?? 0) - (b?.[index] ?? 0)
    if (difference !== 0) return Math.sign(difference)
  }
  return 0
}

/** At least `oldest`, below `tooNew`. */
export type VersionRange = { oldest: string; tooNew: string }

export function inRange(version: string, range: VersionRange): boolean {
  return compareVersions(version, range.oldest) >= 0 && compareVersions(version, range.tooNew) < 0
}
