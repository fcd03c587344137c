import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { homePaths } from '../stack-options.ts'
import { leaveHome, runsNothing } from './own-home.ts'

let home: string
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'coppice-own-home-'))
  for (const folder of ['logs', 'run', 'temporal']) await mkdir(join(home, folder))
  for (const file of ['token', 'logs/worker.log', 'inventory.db']) await writeFile(join(home, file), file)
})
afterEach(() => rm(home, { recursive: true, force: true }))

it('a data directory is removed when all has ended, and nothing is said', async () => {
  expect(await leaveHome(home, { stopped: true, wantsLogs: false })).toBe('')
  expect(existsSync(home)).toBe(false)
})

it.each([false, true])(
  'it stays, without its token, where something may run on it still, also when nobody wants the logs: %s',
  async (wantsLogs) => {
    const words = await leaveHome(home, { stopped: false, wantsLogs })
    expect(words).toContain(homePaths(home).logs)
    expect(words).toContain(`npx coppice --home ${home} down --purge\n`)
    expect(await readdir(home)).toEqual(['inventory.db', 'logs', 'run', 'temporal'])
  },
)

it('only its token goes where the logs of what has ended are wanted', async () => {
  expect(await leaveHome(home, { stopped: true, wantsLogs: true })).toBe(`Logs: ${homePaths(home).logs}\n`)
  expect(await readdir(home)).toEqual(['inventory.db', 'logs', 'run', 'temporal'])
})

it('a record of what runs says that something may', async () => {
  expect(runsNothing(home)).toBe(true)
  await writeFile(homePaths(home).state, '{}')
  expect(runsNothing(home)).toBe(false)
})
