import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './stack-options.ts'

/** Copies this clone as it is, uncommitted changes included, without what git ignores. */
export function copyWorkTree(to: string): void {
  const removed = new Set(listed('--deleted'))
  mkdirSync(to, { recursive: true })
  for (const file of listed('--cached', '--others', '--exclude-standard')) {
    // A link to another clone's node_modules is no folder to git, which then does not ignore it.
    if (removed.has(file) || /^node_modules\/?$/.test(file)) continue
    cpSync(join(ROOT, file), join(to, file), { verbatimSymlinks: true })
  }
}

function listed(...which: string[]): string[] {
  // In CI the clone may be another user's, which git refuses because of its hooks and settings; a list uses neither.
  const args = ['-c', 'safe.directory=*', 'ls-files', '-z', '--deduplicate', ...which]
  const text = execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 26 })
  return text.split('\0').filter((file) => file !== '')
}
