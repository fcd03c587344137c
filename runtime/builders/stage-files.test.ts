import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../artifacts/trees.ts'
import { folderIn, readIn, writeIn } from './stage-files.ts'

let home: string
let root: string
let outside: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-stage-'))
  root = join(home, 'stage')
  outside = join(home, 'outside')
  mkdirSync(join(root, 'source'), { recursive: true })
  mkdirSync(outside)
  writeFileSync(join(outside, 'file'), 'of others')
})
afterEach(() => removeTree(home))

const refused = { code: 'BuildFailed', message: expect.stringContaining('something else') }

describe.each<[string, (path: string) => void]>([
  ['a named pipe', (path) => execFileSync('mkfifo', [path])],
  ['a folder', (path) => mkdirSync(join(path, 'more'), { recursive: true })],
  ['a link to a file of others', (path) => symlinkSync(join(outside, 'file'), path)],
  ['a link to nothing yet', (path) => symlinkSync(join(outside, 'new'), path)],
])('R13.8 in the place of a file %s', (_, put) => {
  beforeEach(() => put(join(root, 'source', 'file')))

  it('is replaced by what is written, and neither waited for nor written through', async () => {
    await writeIn(root, 'source/file', 'ours')
    expect(readFileSync(join(root, 'source', 'file'), 'utf8')).toBe('ours')
    expect(readFileSync(join(outside, 'file'), 'utf8')).toBe('of others')
    expect(readdirSync(outside)).toEqual(['file'])
  })

  it('is not read, and the build is told so', async () => {
    await expect(readIn(root, 'source/file')).rejects.toMatchObject(refused)
  })
})

it('R13.8 a file of a build is read up to 16 MiB', async () => {
  writeFileSync(join(root, 'small'), 'ours')
  writeFileSync(join(root, 'large'), Buffer.alloc(16 * 1024 * 1024 + 1))
  expect(await readIn(root, 'small')).toBe('ours')
  await expect(readIn(root, 'large')).rejects.toMatchObject(refused)
})

it.each<[string, (path: string) => void]>([
  ['a link', (path) => symlinkSync(outside, path)],
  ['a named pipe', (path) => execFileSync('mkfifo', [path])],
  ['nothing', () => undefined],
])('R13.8 nothing is read or written where %s is in the place of a folder', async (_, put) => {
  put(join(root, 'lib'))
  for (const trying of [
    () => folderIn(root, 'lib'),
    () => folderIn(root, 'lib/site'),
    () => readIn(root, 'lib/file'),
    () => writeIn(root, 'lib/new', ''),
  ])
    await expect(trying()).rejects.toMatchObject(refused)
  expect(existsSync(join(outside, 'new'))).toBe(false)
})
