import { execFileSync } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from './artifacts/trees.ts'
import { lastLines, lastWholeLines, logSize, olderLog, openLog, pruneLogs, readLog, rotateLog } from './log-file.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coppice-log-'))
})
afterEach(() => removeTree(folder))

it('gives the last lines, oldest first, also a last one without its end', async () => {
  const path = join(folder, 'a.log')
  await writeFile(path, 'one\ntwo\r\nthree\nfou')
  expect(await lastLines(path, 3)).toEqual(['two', 'three', 'fou'])
  expect(await lastLines(path, 0)).toEqual([])
  expect(await lastLines(join(folder, 'none.log'), 3)).toEqual([])
})

it('tells where a half-written last line begins, so that a reader goes on there', async () => {
  const path = join(folder, 'a.log')
  await writeFile(path, 'one\ntwö\nthr')
  expect(await lastWholeLines(path, 1)).toEqual({ lines: ['twö'], end: 9 })
  await writeFile(path, `${'x'.repeat(200_000)}\nshort\n`)
  expect(await lastWholeLines(path, 5)).toEqual({ lines: ['short'], end: 200_007 })
  await writeFile(path, 'half')
  expect(await lastWholeLines(path, 5)).toEqual({ lines: [], end: 0 })
  expect(await lastWholeLines(join(folder, 'none.log'), 5)).toEqual({ lines: [], end: 0 })
})

it('R14.4 bounds a log while the app goes on writing to the descriptor that it has', async () => {
  const path = join(folder, 'a.log')
  const app = await openLog(path)
  await app.appendFile(`${'x'.repeat(80)}\nlast before\n`)
  expect(await rotateLog(path, 200)).toBe('small')
  expect(await rotateLog(path, 50)).toBe('rotated')
  await app.appendFile('first after\n')
  await app.close()
  expect(await readFile(path, 'utf8')).toBe('first after\n')
  expect(await lastLines(path, 2)).toEqual(['last before', 'first after'])
  expect((await stat(path)).mode & 0o777).toBe(0o600)
})

it('R14.4 keeps only the end of a log that ran far ahead', async () => {
  const path = join(folder, 'a.log')
  await writeFile(path, `${'lost\n'.repeat(1_000)}kept\n`)
  await rotateLog(path, 20)
  expect((await stat(olderLog(path))).size).toBeLessThanOrEqual(20)
  expect(await lastLines(path, 1)).toEqual(['kept'])
})

it('R14.4 prunes logs of instances that are no more by age and by count, and never one in use', async () => {
  const now = Date.now()
  for (const [name, age] of [
    ['used', 900],
    ['new', 1],
    ['older', 2],
    ['old', 90],
  ] as const) {
    await writeFile(join(folder, `${name}.log`), 'x')
    await writeFile(join(folder, `${name}.log.1`), 'x')
    await utimes(join(folder, `${name}.log`), new Date(now - age * 1_000), new Date(now - age * 1_000))
  }
  await pruneLogs(folder, { inUse: new Set(['used']), maxAgeMs: 60_000, maxFiles: 1, now })
  expect((await readdir(folder)).sort()).toEqual(['new.log', 'new.log.1', 'used.log', 'used.log.1'])
})

it('R14.4 logs that were written while the clock was ahead go first, and push out none of the right time', async () => {
  const now = Date.now()
  for (const [name, at] of [
    ['ahead-1', now + 9e7],
    ['ahead-2', now + 9.1e7],
    ['old', now - 9_000],
    ['new', now],
  ] as const) {
    const path = join(folder, `${name}.log`)
    await writeFile(path, name)
    await utimes(path, new Date(at), new Date(at))
  }
  await pruneLogs(folder, { inUse: new Set(), maxAgeMs: 60_000, maxFiles: 2, now })
  expect((await readdir(folder)).sort()).toEqual(['new.log', 'old.log'])
})

describe('R13.8 what an app can put in the place of its log', () => {
  const pipe = async (path: string) => void execFileSync('mkfifo', [path])
  const folderWithFile = async (path: string) => {
    await mkdir(path)
    await writeFile(join(path, 'file'), 'x')
  }
  const link = async (path: string) => {
    await writeFile(`${path}.target`, 'what only we can read\n')
    await symlink(`${path}.target`, path)
  }

  it.each([
    ['a named pipe', pipe],
    ['a folder', folderWithFile],
    ['a link', link],
  ])('%s is no log, which is told at once to who follows it, and the next start has a log again', async (_, put) => {
    const path = join(folder, 'a.log')
    await put(path)
    expect(await lastLines(path, 3)).toEqual([])
    await expect(lastWholeLines(path, 3)).rejects.toThrow('not a file')
    await expect(readLog(path, 0, 10)).rejects.toThrow('not a file')
    await expect(logSize(path)).rejects.toThrow('not a file')
    expect(await rotateLog(path, 1)).toBe('small')
    const log = await openLog(path)
    await log.appendFile('written\n')
    await log.close()
    expect(await lastLines(path, 3)).toEqual(['written'])
    expect(await logSize(path)).toBe(8)
    expect(await readLog(path, 3, 4)).toEqual(Buffer.from('tten'))
    expect([await logSize(`${path}.not`), await readLog(`${path}.not`, 0, 9)]).toEqual([0, Buffer.alloc(0)])
  })

  it.each([
    ['a named pipe', pipe],
    ['a folder', folderWithFile],
    ['a link', link],
  ])('%s in the way of the older log does not keep the log from being bounded', async (_, put) => {
    const path = join(folder, 'a.log')
    await writeFile(path, 'too much\n')
    for (const name of ['a.log.rotating', 'a.log.1']) await put(join(folder, name))
    expect(await rotateLog(path, 5)).toBe('rotated')
    expect(await readFile(path, 'utf8')).toBe('')
    expect(await readFile(olderLog(path), 'utf8')).toBe('too much\n')
  })

  // Root is refused nothing; as an ordinary user this is what happens to an unreadable log.
  it('R14.4 a log whose permissions it takes away is bounded, read and written as ever', async () => {
    const path = join(folder, 'a.log')
    await writeFile(path, 'too much\n')
    await chmod(path, 0)
    expect(await lastLines(path, 1)).toEqual(['too much'])
    await chmod(path, 0)
    expect(await rotateLog(path, 5)).toBe('rotated')
    await chmod(path, 0)
    const log = await openLog(path)
    await log.appendFile('next\n')
    await log.close()
    expect(await lastLines(path, 2)).toEqual(['too much', 'next'])
  })

  it('R14.4 folders and pipes are pruned as logs are', async () => {
    await folderWithFile(join(folder, 'a.log'))
    await pipe(join(folder, 'b.log'))
    await folderWithFile(join(folder, 'b.log.1'))
    await writeFile(join(folder, 'c.log'), 'x')
    await pruneLogs(folder, { inUse: new Set(), maxAgeMs: -1, maxFiles: 0, now: Date.now() })
    expect(await readdir(folder)).toEqual([])
  })
})
