import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openStore } from '../../store/store.ts'
import { coppice } from '../cli/cli.ts'
import { isRunning } from '../conformance/provider.ts'
import { mountSmallDisk, type SmallDisk } from './small-disk.ts'

let disk: SmallDisk
let home: string
beforeEach(async () => {
  disk = await mountSmallDisk(4)
  home = join(disk.path, 'home')
})
afterEach(() => disk.remove())

it('R14.3 down and down --purge need no room on the disk: they end the instances and give it back', async () => {
  const store = await openStore({ home })
  const id = store.homeId
  await store.ports.acquire('shop-1-a')
  expect(await store.ports.heldBackBy(0)).toBe(0)
  await store.close()
  // Closed in good order: a reader would have to make the index of the journal anew.
  expect(existsSync(join(home, 'inventory.db-shm'))).toBe(false)
  for (const args of [['down'], ['down', '--purge']]) {
    const env = { PATH: process.env.PATH, HOME: '/', COPPICE_INSTANCE_ID: 'shop-1-a', COPPICE_HOME_ID: id }
    const { pid } = spawn('sleep', ['300'], { detached: true, stdio: 'ignore', env })
    await disk.keepFull()
    const ran = await coppice(args, { home }).ended
    expect(ran, ran.err).toMatchObject({ code: 0, err: expect.stringContaining('shop-1-a') })
    expect(isRunning(pid as number)).toBe(false)
  }
  expect(existsSync(home)).toBe(false)
})

it('R14.3 down ends what runs on a disk that became read-only, and down --purge names what it could not remove there', async () => {
  const store = await openStore({ home })
  const { homeId } = store
  await store.close()
  mkdirSync(join(home, 'instances', 'shop-1-a', 'work'), { recursive: true })
  const { pid } = spawn('sleep', ['300'], {
    detached: true,
    stdio: 'ignore',
    env: { PATH: process.env.PATH, HOME: '/', COPPICE_INSTANCE_ID: 'shop-1-a', COPPICE_HOME_ID: homeId },
  })
  execFileSync('mount', ['--bind', home, home])
  execFileSync('mount', ['-o', 'remount,ro,bind', home])
  try {
    const ended = await coppice(['down'], { home }).ended
    expect(ended, ended.err).toMatchObject({ code: 0, err: expect.stringContaining('Of shop-1-a something is left') })
    expect(isRunning(pid as number)).toBe(false)
    const purged = await coppice(['down', '--purge'], { home }).ended
    expect(purged, purged.err).toMatchObject({ code: 1, err: expect.stringContaining('removed but for this') })
    expect(purged.err).not.toContain('    at ')
  } finally {
    execFileSync('umount', [home])
  }
  const purged = await coppice(['down', '--purge'], { home }).ended
  expect(purged, purged.err).toMatchObject({ code: 0 })
  expect(existsSync(home)).toBe(false)
})
