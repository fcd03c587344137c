import { mkdtempSync, openSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { freeStackOptions } from '../stack-options.ts'
import { readState, type StackState, writeState } from './state-file.ts'

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
