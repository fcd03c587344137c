import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { MAX_BUILD_LOG_BYTES, openBuildLog } from './build-log.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-build-log-'))
})
afterEach(() => removeTree(folder))

const path = () => join(folder, 'shop', 'build-d1.log')
const text = () => readFileSync(path(), 'utf8')

/** 1 MiB in bytes, and a third of that in characters. */
const LONG = `${'€'.repeat((1024 * 1024 - 1) / 3)}`

function build(name: string, lines: number): void {
  const log = openBuildLog(folder, 'shop', 'd1')
  log.write(`begin ${name}`)
  for (let i = 0; i < lines; i++) log.write(LONG)
  log.write(`end ${name}`)
  log.close()
}

it('R14.4 a build log is bounded in bytes, whatever letters are in it, and says that it was cut', () => {
  build('much', 20)
  expect(statSync(path()).size).toBeLessThanOrEqual(MAX_BUILD_LOG_BYTES)
  expect(statSync(path()).size).toBeGreaterThan(MAX_BUILD_LOG_BYTES - 1024 * 1024)
  expect(text()).toMatch(/^begin much\n/)
  expect(text()).toMatch(/\ncoppice: the rest of this log was cut off\n$/)
})

it('R14.4 all builds of a deployment together are bounded, and the last one always has room for what it says', () => {
  for (const name of ['first', 'second', 'third']) {
    build(name, 2)
    expect(statSync(path()).size).toBeLessThanOrEqual(MAX_BUILD_LOG_BYTES)
    expect(text()).toContain(`end ${name}\n`)
  }
  // Two fit; the third began anew.
  expect(text()).not.toContain('first')
  build('fourth', 1)
  expect(text()).toMatch(/^begin third\n€+\n€+\nend third\nbegin fourth\n€+\nend fourth\n$/)
})

it('R13.8 what an app can put in the place of a build log holds up no build, and is not written to', () => {
  mkdirSync(join(folder, 'shop'))
  for (const put of [
    () => execFileSync('mkfifo', [path()]),
    () => mkdirSync(path()),
    () => symlinkSync(join(folder, 'elsewhere'), path()),
  ]) {
    put()
    build('any', 0)
    expect(text()).toBe('begin any\nend any\n')
    rmSync(path())
  }
  expect(existsSync(join(folder, 'elsewhere'))).toBe(false)
})
