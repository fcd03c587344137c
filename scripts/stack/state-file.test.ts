import { cpSync, mkdtempSync, openSync, readdirSync, renameSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { freeStackOptions, homePaths } from '../stack-options.ts'
import { falling, noteExit, readState, type StackState, writeState } from './state-file.ts'

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>()
  return { ...fs, openSync: vi.fn(fs.openSync) }
})

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-state-'))
})
afterEach(async () => {
  vi.mocked(openSync).mockRestore()
  await removeTree(folder)
})

it('R12.8 what runs is written down in its place on a full disk, and nothing half is left', async () => {
  const file = join(folder, 'state.json')
  const options = await freeStackOptions(folder)
  const state: StackState = {
    format: 1,
    starter: { pid: 1, startTime: '1' },
    phase: 'starting',
    options,
    processes: { router: { pid: 2, startTime: '2', fingerprint: 'f' } },
  }
  writeState(file, state)
  const real = vi.mocked(openSync).getMockImplementation() as typeof openSync
  vi.mocked(openSync).mockImplementation((path, flags, mode) => {
    // No room for another file.
    if (flags !== 'w') return real(path, flags, mode)
    throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
  })
  const later: StackState = { ...state, phase: 'ready', processes: {} }
  writeState(file, later)
  expect(readState(file)).toEqual(later)
  writeState(file, state)
  expect(readState(file)).toEqual(state)
  expect(readdirSync(folder)).toEqual(['state.json'])
  // Where nothing was written yet there is no place either, and that is said.
  expect(() => writeState(join(folder, 'other.json'), state)).toThrow('no space left')
})

it('R14.3 in a copy of the data directory the state of the original names nobody, in one that was renamed what it named', async () => {
  const [home, other] = [join(folder, 'home'), join(folder, 'other')]
  const file = homePaths(home).state
  const control = { pid: 2, startTime: '2', fingerprint: '' }
  const state: StackState = {
    format: 1,
    starter: { pid: 1, startTime: '1' },
    phase: 'ready',
    options: await freeStackOptions(home),
    processes: { control },
  }
  writeState(file, state)
  cpSync(home, other, { recursive: true })
  expect(readState(homePaths(other).state)).toBe(null)
  expect(readState(file)).toEqual(state)
  // It has adopted what the first one started.
  writeState(file, { ...state, starter: { pid: 3, startTime: '3' } })
  expect(readState(homePaths(other).state)).toBe(null)
  symlinkSync(home, join(folder, 'link'))
  expect(readState(homePaths(join(folder, 'link')).state)?.processes).toEqual({ control })
  await removeTree(other)
  renameSync(home, other)
  expect(readState(homePaths(other).state)?.processes).toEqual({ control })
  writeState(file, { ...state, starter: { pid: 4, startTime: '4' }, processes: {} })
  expect(readState(homePaths(other).state)?.processes).toEqual({ control })
})

it('R14.3 tells what is started again and again: three exits in ten minutes, by whichever clock, and no single accident', async () => {
  const state = {
    format: 1,
    starter: { pid: 1, startTime: '1' },
    phase: 'ready',
    processes: {},
  } as unknown as StackState
  const minutes = (n: number) => n * 60_000
  for (const at of [0, 5, 12]) noteExit(state, 'worker', { at: minutes(at), how: `ended at ${at}` })
  expect(falling(state, minutes(9.9))).toEqual([{ name: 'worker', exits: 3, how: 'ended at 12' }])
  expect(falling(state, minutes(13))).toEqual([])
  noteExit(state, 'router', { at: minutes(13), how: 'ended once' })
  noteExit(state, 'worker', { at: minutes(13), how: 'ended by SIGKILL' })
  expect(falling(state, minutes(13))).toEqual([{ name: 'worker', exits: 3, how: 'ended by SIGKILL' }])
  for (let n = 0; n < 100; n++) noteExit(state, 'worker', { at: minutes(14), how: 'ended' })
  expect(state.exits?.worker).toHaveLength(10)
})
