import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { BACKUP_BOUNDS } from '../../store/backups.ts'
import { openStore } from '../../store/store.ts'
import { backUp } from './back-up.ts'
import { sweepDrafts } from './drafts.ts'

let folder: string
let home: string
let elsewhere: string
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-back-up-'))
  home = join(folder, 'home')
  elsewhere = join(folder, 'elsewhere')
  mkdirSync(elsewhere)
  await (await openStore({ home })).close()
})
afterEach(() => removeTree(folder))

/** Of a home whose token takes seconds to pack. */
async function killedBackup(): Promise<void> {
  const token = join(home, 'token')
  writeFileSync(token, '')
  truncateSync(token, 2 ** 31)
  const script = join(import.meta.dirname, '..', 'backup.ts')
  const file = join(elsewhere, 'kept.tar.gz')
  const running = spawn(process.execPath, [script, '--home', home, file], { stdio: 'ignore' })
  const ended = once(running, 'exit')
  // Its second file is the archive, whatever it is called.
  const files = () => readdirSync(elsewhere, { recursive: true, withFileTypes: true }).filter((one) => one.isFile())
  while (files().length < 2) await sleep(5)
  running.kill('SIGKILL')
  expect(await ended).toEqual([null, 'SIGKILL'])
  truncateSync(token, 0)
}

it('R14.3 a killed backup leaves nothing that others can read, and that no longer than until the next command', async () => {
  await killedBackup()
  const [left, ...more] = readdirSync(elsewhere)
  expect(more).toEqual([])
  expect(statSync(join(elsewhere, left as string)).mode & 0o777).toBe(0o700)
  for (const name of readdirSync(join(elsewhere, left as string)))
    expect([name, statSync(join(elsewhere, left as string, name)).mode & 0o777]).toEqual([name, 0o600])
  expect(await sweepDrafts(home)).toEqual([])
  expect(readdirSync(elsewhere)).toEqual([])
})

it('R14.3 the next backup into the same folder removes what a killed one of another data directory has left', async () => {
  await killedBackup()
  await removeTree(join(home, 'run'))
  const mine = ['mine.backing-up-2026', 'mine.new']
  for (const name of mine) writeFileSync(join(elsewhere, name), '')
  await backUp(home, join(elsewhere, 'next.tar.gz'), Date.now, BACKUP_BOUNDS)
  expect(readdirSync(elsewhere).sort()).toEqual([...mine, 'next.tar.gz'])
  expect(statSync(join(elsewhere, 'next.tar.gz')).mode & 0o777).toBe(0o600)
  expect(existsSync(join(home, 'run', 'backing-up')) && readdirSync(join(home, 'run', 'backing-up'))).toEqual([])
})

it('R14.3 a backup that was made after the clock was set right is there, beside those that were made while it was ahead', async () => {
  const make = async (now: number) => {
    const { file } = await backUp(home, null, () => now, BACKUP_BOUNDS)
    utimesSync(file, new Date(now), new Date(now))
    return file
  }
  const ahead = Date.now() + 400 * 24 * 3_600_000
  for (let i = 0; i < 5; i++) await make(ahead + i)
  for (let i = 0; i < 3; i++) expect(existsSync(await make(Date.now() + i))).toBe(true)
  expect(readdirSync(join(home, 'backups'))).toHaveLength(5)
})
