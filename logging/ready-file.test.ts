import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { readyFile, reserveReadyFile } from './ready-file.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-ready-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

it('R12.8 a ready file keeps its length, so that it can be written on a full disk, and says what was said in it last', () => {
  const file = join(folder, 'x.ready')
  reserveReadyFile(file)
  expect(readFileSync(file, 'utf8')).toBe(' '.repeat(16))
  writeFileSync(file, '1234567')
  reserveReadyFile(file)
  expect(readFileSync(file, 'utf8')).toBe('1234567'.padEnd(16))
  readyFile(file).sayReady()
  reserveReadyFile(file)
  expect(readFileSync(file, 'utf8')).toBe(String(process.pid).padEnd(16))
})
