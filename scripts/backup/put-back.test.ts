import { spawnSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { CoppiceError } from '../../domain/errors.ts'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { BACKUP_BOUNDS } from '../../store/backups.ts'
import { openStore } from '../../store/store.ts'
import { backUp } from './back-up.ts'
import { sweepDrafts } from './drafts.ts'
import { putBack } from './put-back.ts'

let folder: string
let file: string
/** Where it is restored: on another disk, as it were. */
let target: string
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-put-back-'))
  const home = join(folder, 'home')
  file = join(folder, 'kept.tar.gz')
  target = join(folder, 'disk', 'target')
  await (await openStore({ home })).close()
  writeFileSync(join(home, 'token'), 'a token')
  await backUp(home, file, Date.now, BACKUP_BOUNDS)
  mkdirSync(target, { recursive: true })
})
afterEach(() => removeTree(folder))

const PARTS = ['inventory.db', 'secret.key', 'token']

it('R14.3 restores into a folder that is there, without a touch to what it lies in', async () => {
  // As where that is root's, or the folder is a disk: nothing can be made beside it, and it cannot be removed.
  const before = [statSync(target).ino, statSync(dirname(target)).mtimeMs]
  mkdirSync(join(target, 'lost+found'))
  const { format } = await putBack(file, target)
  expect(format).toBe(1)
  expect([statSync(target).ino, statSync(dirname(target)).mtimeMs]).toEqual(before)
  expect(readdirSync(target).sort()).toEqual([...PARTS.slice(0, 1), 'lost+found', ...PARTS.slice(1)])
  expect(statSync(target).mode & 0o777).toBe(0o700)
  const store = await openStore({ home: target })
  await store.close()
})

it('R14.3 restores through a link, which stays one, onto the disk that it leads to', async () => {
  const link = join(folder, 'link')
  symlinkSync(target, link)
  const before = readdirSync(folder)
  await putBack(file, link)
  expect(lstatSync(link).isSymbolicLink()).toBe(true)
  expect(readdirSync(target).sort()).toEqual(PARTS)
  expect(readdirSync(folder)).toEqual(before)
})

it('R14.3 makes a folder that is not there, and leaves nothing in one that is when the file is no backup', async () => {
  const made = join(folder, 'new', 'home')
  await putBack(file, made)
  expect(readdirSync(made).sort()).toEqual(PARTS)
  expect(readdirSync(dirname(made))).toEqual(['home'])
  writeFileSync(join(folder, 'half'), readFileSync(file).subarray(0, 500))
  await expect(putBack(join(folder, 'half'), target)).rejects.toThrow('not a whole backup')
  expect(readdirSync(target)).toEqual([])
})

it('R14.3 gives what it restores no id, so that it draws one and takes no process of the original', async () => {
  await putBack(file, target)
  const raw = new DatabaseSync(join(target, 'inventory.db'), { readOnly: true })
  expect(raw.prepare(`select value from meta where key = 'home'`).get()).toBeUndefined()
  raw.close()
})

it.each([
  ['a file', 'a file', 'ENOTDIR'],
  ['below a file', 'a file/home', 'ENOTDIR'],
  ['a link to nothing', 'a link', 'is a link to'],
])('R14.3 says what to do where the data directory is %s', async (_what, name, words) => {
  writeFileSync(join(folder, 'a file'), '')
  symlinkSync(join(folder, 'nowhere'), join(folder, 'a link'))
  const error = await putBack(file, join(folder, name)).catch((error: Error) => error)
  expect(error).toBeInstanceOf(CoppiceError)
  expect(error).toMatchObject({ code: 'InvalidInput', message: expect.stringContaining(words) })
})

it('R14.3 says that it cannot read a folder in the place of the backup, and not that the data directory is wrong', async () => {
  const error = await putBack(folder, target).catch((error: Error) => error)
  expect(error).toMatchObject({ code: 'InvalidInput', details: { field: 'file' } })
  expect(readdirSync(target)).toEqual([])
})

/** SIGKILL when so many parts are in their place. */
function killedRestore(moved: number): void {
  const script = `
    import fs from 'node:fs'
    import { syncBuiltinESMExports } from 'node:module'
    const rename = fs.renameSync
    let left = ${moved}
    fs.renameSync = (...args) => (left-- > 0 ? rename(...args) : process.kill(process.pid, 'SIGKILL'))
    syncBuiltinESMExports()
    const { putBack } = await import(${JSON.stringify(join(import.meta.dirname, 'put-back.ts'))})
    await putBack(${JSON.stringify(file)}, ${JSON.stringify(target)})`
  const { signal } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' })
  expect(signal).toBe('SIGKILL')
}

it.each([0, 1, 2])(
  'R14.3 a restore that is killed with %i parts in their place leaves nothing to the next one',
  async (moved) => {
    killedRestore(moved)
    const [draft, ...parts] = readdirSync(target)
    expect(parts).toHaveLength(moved)
    expect(statSync(join(target, draft as string)).mode & 0o777).toBe(0o700)
    expect(await sweepDrafts(target)).toEqual([])
    expect(readdirSync(target)).toEqual([])
    killedRestore(moved)
    await putBack(file, target)
    expect(readdirSync(target).sort()).toEqual(PARTS)
  },
)

it('R14.3 a restore that is killed when all is in its place is a whole one, and what another one makes meanwhile stays', async () => {
  await putBack(file, target)
  const draft = join(target, '.restoring-1.1-01234567')
  mkdirSync(draft)
  writeFileSync(join(draft, '.parts.json'), JSON.stringify(PARTS.slice(1)))
  expect(await sweepDrafts(target)).toEqual([])
  expect(readdirSync(target).sort()).toEqual(PARTS)
  await expect(putBack(file, target)).rejects.toThrow('is not empty')
  expect(existsSync(join(target, 'token'))).toBe(true)
})

it('R14.3 takes nothing from whoever has made an inventory of his own of what half a restore left', async () => {
  killedRestore(2)
  writeFileSync(join(target, 'inventory.db'), 'another one')
  expect(await sweepDrafts(target)).toEqual([])
  expect(readdirSync(target).sort()).toEqual(PARTS)
})
