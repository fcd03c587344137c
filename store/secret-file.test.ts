import { randomUUID } from 'node:crypto'
import { linkSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readOrMakeToken } from '../control/auth.ts'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { openSeal } from './seal.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-secret-file-'))
})
afterEach(() => removeTree(folder))

describe.each([
  ['R3.7 the key', (file: string) => openSeal(file, false)],
  ['R13.5 the token', readOrMakeToken],
] as const)('%s', (_, open) => {
  it('is made beside what a start that was killed left under the same pid, and that is removed', () => {
    const file = join(folder, 'secret')
    writeFileSync(`${file}.${process.pid}.new`, 'half')
    writeFileSync(`${file}.${randomUUID()}.new`, 'half')
    open(file)
    expect(readdirSync(folder)).toEqual(['secret'])
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(readFileSync(file, 'utf8').length).toBeGreaterThan(40)
  })

  it('does not stay in a second file when the one that made it was killed before it removed that', () => {
    const file = join(folder, 'secret')
    open(file)
    linkSync(file, `${file}.1.new`)
    open(file)
    expect(readdirSync(folder)).toEqual(['secret'])
  })

  it('leaves alone what is not ours', () => {
    const file = join(folder, 'secret')
    const others = ['secret.mine.new', 'secret..new', 'secrets.1.new', 'secret.1.old']
    for (const name of others) writeFileSync(join(folder, name), '')
    open(file)
    expect(readdirSync(folder).sort()).toEqual(['secret', ...others].sort())
  })
})
