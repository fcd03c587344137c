import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { ownerTag } from './artifacts/owners.ts'
import { removeTree } from './artifacts/trees.ts'
import { runtimeChecks } from './checks.ts'

let home: string
let instances: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-checks-'))
  instances = join(home, 'instances')
  mkdirSync(instances)
})
afterEach(async () => {
  vi.restoreAllMocks()
  await removeTree(home)
})

const setAside = async (known: () => string[] = () => []) => {
  const checks = await runtimeChecks({ home, homeId: 'none', instances: async () => new Set(known()) })
  return checks.find(({ name }) => name === 'set aside')
}

it('R13.8 the doctor names what stayed where it was of instances that the inventory does not know, and nothing else there', async () => {
  for (const name of ['shop-1-0', 'gone-1-0', '.hidden', 'lost+found']) mkdirSync(join(instances, name))
  writeFileSync(join(instances, 'notes.txt'), '')
  expect(await setAside(() => ['shop-1-0'])).toMatchObject({
    ok: false,
    message: `could not be removed: ${join(instances, 'gone-1-0')}`,
  })
  expect(await setAside(() => ['shop-1-0', 'gone-1-0'])).toMatchObject({ ok: true })
})

it('R13.8 the doctor does not take an instance that is just being made, or that goes while it looks, for a leftover', async () => {
  mkdirSync(join(instances, 'going-1-0'))
  const asked = setAside(() => {
    // Between its look at the folder and the one at the inventory.
    mkdirSync(join(instances, 'made-1-0'))
    rmSync(join(instances, 'going-1-0'), { recursive: true })
    return ['made-1-0']
  })
  expect(await asked).toMatchObject({ ok: true })
})

it('R13.8 the doctor says so when it cannot look: it does not say that all is removed', async () => {
  rmSync(instances, { recursive: true })
  expect(await setAside()).toMatchObject({ ok: true })
  symlinkSync('instances', instances)
  expect(await setAside()).toMatchObject({ ok: false, message: expect.stringContaining('ELOOP') })
})

it('R13.8 the doctor names what of the stores stays for longer than its removal takes, and not what is being built', async () => {
  for (const store of ['artifacts', 'sources']) {
    mkdirSync(join(home, store, 'trash', `${ownerTag()}-taken-out`), { recursive: true })
    for (const owner of [ownerTag(), '1.1'])
      mkdirSync(join(home, store, 'making', `${owner}-half`), { recursive: true })
  }
  expect(await setAside()).toMatchObject({ ok: true })
  const later = Date.now() + 16 * 60_000
  vi.spyOn(Date, 'now').mockReturnValue(later)
  const stuck = ['artifacts', 'sources'].flatMap((store) => [
    join(home, store, 'trash', `${ownerTag()}-taken-out`),
    join(home, store, 'making', '1.1-half'),
  ])
  expect(await setAside()).toMatchObject({ ok: false, message: `could not be removed: ${stuck.join(', ')}` })
})
