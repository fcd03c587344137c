import { chmodSync, mkdtempSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { readOrMakeToken } from './auth.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-auth-'))
})
afterEach(() => removeTree(folder))

const mode = (file: string) => (statSync(file).mode & 0o777).toString(8)

it('R13.5 makes a token that only its owner can read, and keeps it', () => {
  const file = join(folder, 'new', 'token')
  const token = readOrMakeToken(file)
  expect(token).toMatch(/^[\w-]{43}$/)
  expect(mode(file)).toBe('600')
  expect(readOrMakeToken(file)).toBe(token)
})

it('R13.5 closes a token file that others could read', () => {
  const file = join(folder, 'token')
  writeFileSync(file, 'a-token-that-is-long-enough\n')
  chmodSync(file, 0o644)
  expect(readOrMakeToken(file)).toBe('a-token-that-is-long-enough')
  expect(mode(file)).toBe('600')
})

it('refuses a file that holds no token, rather than let everybody in with an empty one', () => {
  const file = join(folder, 'token')
  for (const text of ['', '\n', 'short', 'two words in it, long enough']) {
    writeFileSync(file, text)
    expect(() => readOrMakeToken(file)).toThrow(/at least 16/)
  }
})
