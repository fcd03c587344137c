import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { emptyTrash, removeTree, setAside } from './trees.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-trees-'))
})
afterEach(() => execFileSync('sh', ['-c', 'chmod -R u+rwX "$0"; rm -rf "$0"', folder]))

/** 60 folders of 100 letters in each other: a path of 6,000 bytes, where the kernel takes 4,096. Sealed, as builds are. */
function deep(path: string): void {
  const script = `const fs = require('node:fs'); fs.mkdirSync(process.argv[1]); process.chdir(process.argv[1])
    for (let i = 0; i < 60; i++) { fs.mkdirSync('d'.repeat(100)); process.chdir('d'.repeat(100)) }
    fs.writeFileSync('file', 'x'); for (const sealed of ['.', '..']) fs.chmodSync(sealed, 0o555)`
  execFileSync(process.execPath, ['-e', script, path])
}

it('R13.8 removes directories that are nested deeper than a path can be long, sealed or not', async () => {
  deep(join(folder, 'deep'))
  await removeTree(join(folder, 'deep'))
  expect(readdirSync(folder)).toEqual([])
})

it('removes sealed trees and ones that nobody may read, and what never was', async () => {
  mkdirSync(join(folder, 'sealed', 'closed'), { recursive: true })
  writeFileSync(join(folder, 'sealed', 'closed', 'file'), '')
  chmodSync(join(folder, 'sealed', 'closed'), 0)
  chmodSync(join(folder, 'sealed'), 0o555)
  await removeTree(join(folder, 'sealed'))
  await removeTree(join(folder, 'never'))
  expect(readdirSync(folder)).toEqual([])
  await expect(removeTree(join(folder, 'x'.repeat(300)))).rejects.toThrow('ENAMETOOLONG')
})

it('R13.8 what cannot be removed is set aside under its name, and tried again', async () => {
  deep(join(folder, 'stuck'))
  const trash = join(folder, '.trash')
  const grave = await setAside(join(folder, 'stuck'), trash)
  expect(readdirSync(folder)).toEqual(['.trash'])
  expect(grave).toMatch(/\/\.trash\/stuck-[0-9a-f]{8}$/)
  await emptyTrash(trash)
  expect(readdirSync(trash)).toEqual([])
})

it('R13.8 what can be neither removed nor moved stays where it is and is told so, wherever the obstacle lies', async () => {
  const stuck = join(folder, 'stuck')
  mkdirSync(stuck)
  writeFileSync(join(folder, 'file'), '')
  for (const trash of [join(folder, 'file'), join(folder, 'file', '.trash'), join(stuck, '.trash')])
    expect(await setAside(stuck, trash)).toBeNull()
  expect(await setAside(join(folder, 'never'), join(folder, '.trash'))).toBeNull()
  expect(existsSync(stuck)).toBe(true)
})
