import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { ROOT } from './stack-options.ts'

/** `npm run check`: types, lint with import boundaries, format, generated documents. Runs all, then says what failed. */
const CHECKS: [string, string[]][] = [
  ['types', ['tsc', '--noEmit', '-p', '.']],
  ['lint and format', ['biome', 'check', '--error-on-warnings', '.']],
  ['docs/errors.md is up to date', ['node', 'scripts/errors-doc.ts', '--check']],
]

const failed: string[] = []
for (const [what, [program = '', ...args]] of CHECKS) {
  const path = join(ROOT, 'node_modules', '.bin', program)
  const { status, error } = spawnSync(program === 'node' ? process.execPath : path, args, {
    cwd: ROOT,
    stdio: 'inherit',
  })
  if (error !== undefined) process.stderr.write(`${program}: ${error.message}\n`)
  if (status !== 0) failed.push(what)
}
for (const [what] of CHECKS) process.stdout.write(`${failed.includes(what) ? '✗' : '✓'} ${what}\n`)
process.exitCode = failed.length > 0 ? 1 : 0
