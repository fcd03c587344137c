import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { DEFAULT_CHECKS, DEFAULT_LIMITS, DEFAULT_TIMEOUTS, FLAGS } from './options.ts'

const run = (...args: string[]) =>
  spawnSync(process.execPath, [join(import.meta.dirname, 'main.ts'), ...args], { encoding: 'utf8' })

it('--help names every flag, limit, timeout and check with its default, and starts nothing', () => {
  const { status, stdout } = run('--help')
  expect(status).toBe(0)
  for (const flag of Object.keys(FLAGS)) expect(stdout).toMatch(new RegExp(`^ {2}--${flag}( |$)`, 'm'))
  for (const [name, value] of Object.entries({ ...DEFAULT_LIMITS, ...DEFAULT_TIMEOUTS, ...DEFAULT_CHECKS }))
    expect(stdout).toMatch(new RegExp(`^ {2}${name}=${value} +\\S`, 'm'))
  expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(120)
})

it('a flag that is not known is refused, and names the way to the list', () => {
  const { status, stdout } = run('--colour', 'blue')
  expect(status).toBe(2)
  expect(stdout).toContain('node router/main.ts --help')
})
