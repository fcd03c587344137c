import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { heldByPermissions } from '../runtime/providers/process/testing.ts'
import { openStore } from '../store/store.ts'
import { homePaths } from './stack-options.ts'

// Each starts processes.
vi.setConfig({ testTimeout: 60_000 })

let folder: string
let home: string
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-down-'))
  home = join(folder, 'home')
  await (await openStore({ home })).close()
  mkdirSync(dirname(homePaths(home).state))
  mkdirSync(join(home, 'instances', 'shop-1-0', 'work'), { recursive: true })
  writeFileSync(join(home, 'instances', 'shop-1-0', 'work', 'file'), 'x')
  chmodSync(join(home, 'instances'), 0o555)
})
afterEach(() => removeTree(folder))

async function down(...args: string[]) {
  const command = [process.execPath, join(import.meta.dirname, 'down.ts'), '--home', home, ...args]
  const [program = '', ...rest] = [...(await heldByPermissions()), ...command]
  const { status, stderr } = spawnSync(program, rest, { encoding: 'utf8' })
  return { status, stderr }
}

it('R14.3 down says what of an instance can be neither removed nor moved, and is not kept from ending the rest', async () => {
  const ran = await down()
  expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: expect.stringContaining('Stopped. The apps are kept in') })
  expect(ran.stderr).toMatch(/Of shop-1-0 something is left: .* stays where it is/)
  expect(existsSync(join(home, 'instances', 'shop-1-0'))).toBe(true)
})

it('R14.3 down is not kept from its work by a record of what ran that cannot be removed', async () => {
  const { state, lock } = homePaths(home)
  for (const file of [state, lock]) writeFileSync(file, '')
  chmodSync(dirname(state), 0o555)
  const ran = await down()
  expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: expect.stringContaining(`unlink '${state}'`) })
  expect(await down('--purge')).toMatchObject({ status: 0, stderr: expect.stringContaining(`${home} is removed`) })
})

it('R14.3 down --purge removes what nothing but the permissions of a folder held', async () => {
  const ran = await down('--purge')
  expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: expect.stringContaining(`${home} is removed`) })
  expect(existsSync(home)).toBe(false)
})

it('R14.3 down --purge of a data directory whose own folder must stay removes all that is in it, and says so', async () => {
  chmodSync(folder, 0o555)
  const ran = await down('--purge')
  expect(ran, ran.stderr).toMatchObject({ status: 0, stderr: expect.stringContaining('the folder itself stays') })
  expect(readdirSync(home)).toEqual([])
})

it('R14.3 down --purge names what it could not remove, and keeps the inventory, by which the next one knows the folder', async () => {
  chmodSync(home, 0o555)
  const ran = await down('--purge')
  expect(ran, ran.stderr).toMatchObject({ status: 1, stderr: expect.stringContaining('removed but for this') })
  expect(ran.stderr).not.toContain('    at ')
  for (const name of ['instances', 'run']) expect(ran.stderr).toContain(join(home, name))
  chmodSync(home, 0o755)
  expect(await down('--purge')).toMatchObject({ status: 0, stderr: expect.stringContaining(`${home} is removed`) })
})
