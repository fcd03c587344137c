import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { resolveSource } from './source-roots.ts'

let base: string
let root: string
beforeAll(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), 'coppice-roots-')))
  root = join(base, 'root')
  await mkdir(join(root, 'app'), { recursive: true })
  await mkdir(join(base, 'root-of-others'))
  await writeFile(join(root, 'file'), '')
  await symlink(base, join(root, 'out'))
})
afterAll(() => rm(base, { recursive: true }))

it('R3.8 a source is a folder within a root, by its relative or its absolute path', async () => {
  expect(await resolveSource([join(base, 'none'), root], 'app')).toBe(join(root, 'app'))
  expect(await resolveSource([root], join(root, 'app'))).toBe(join(root, 'app'))
  expect(await resolveSource([root], root)).toBe(root)
})

it('R3.8 one that lies outside is refused as such, whether or not it is there; one that is not there is not found', async () => {
  const outside = { code: 'InvalidInput', message: expect.stringContaining('lies outside of the source roots') }
  for (const path of [base, join(base, 'none'), join(base, 'root-of-others')])
    await expect(resolveSource([root], path)).rejects.toMatchObject(outside)
  for (const path of ['none', join(root, 'none'), 'file'])
    await expect(resolveSource([root], path)).rejects.toMatchObject({ code: 'SourceNotFound' })
})

it('R3.8 none leaves its root by a link or by "..", and none is read past a NUL', async () => {
  await expect(resolveSource([root], 'out')).rejects.toMatchObject({
    code: 'InvalidInput',
    message: expect.stringContaining('through a link'),
  })
  for (const path of ['../root-of-others', `${join(root, 'app')}/../../root-of-others`, 'app\0'])
    await expect(resolveSource([root], path)).rejects.toMatchObject({ code: 'InvalidInput' })
})
