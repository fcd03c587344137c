import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../../artifacts/trees.ts'
import {
  beginAnew,
  furnish,
  type InstanceDirectory,
  instanceDirectory,
  isGone,
  readRecord,
  writeRecord,
} from './instance-directory.ts'

let clone: string
beforeEach(() => {
  clone = mkdtempSync(join(tmpdir(), 'coppice-clone-'))
})
afterEach(() => removeTree(clone))

it('R3.6 a script of an app without package.json is what it is elsewhere, also in a data directory in a clone', async () => {
  writeFileSync(join(clone, 'package.json'), '{"type":"module"}')
  const artifact = join(clone, 'artifact')
  mkdirSync(artifact)
  writeFileSync(join(artifact, 'server.js'), `console.log(require('node:path').sep)`)
  const directory = instanceDirectory(join(clone, '.coppice', 'instances'), 'shop-1-0')
  await beginAnew(directory, 'shop-1-0')
  await furnish(directory, artifact, {})
  const said = execFileSync(process.execPath, ['server.js'], { cwd: directory.work, encoding: 'utf8' })
  expect(said.trim()).toBe('/')
})

describe('R13.8 a record that the app has replaced', () => {
  const id = 'shop-1-0'
  const started = { phase: 'started', id, pid: 4711, startTime: 'boot:1', port: 4000, startedAt: 1 } as const
  const put = (text: unknown) => (path: string) => writeFileSync(path, JSON.stringify(text))
  const wrecks: Array<[string, (path: string) => void]> = [
    ['a named pipe', (path) => execFileSync('mkfifo', [path])],
    ['a directory', (path) => mkdirSync(path)],
    [
      'a link to another record',
      (path) => {
        put(started)(`${path}.other`)
        symlinkSync(`${path}.other`, path)
      },
    ],
    ['a link to itself', (path) => symlinkSync(path, path)],
    ['more than fits into memory', (path) => execFileSync('truncate', ['--size', '8G', path])],
    ['nothing that is JSON', (path) => writeFileSync(path, '{"phase":"star')],
    ['null', put(null)],
    ['a record that stands for every process there is', put({ ...started, pid: 1 })],
    ['a record of a negative pid', put({ ...started, pid: -7 })],
    ['a record of another instance', put({ ...started, id: 'other-1-0' })],
    ['a record that lacks what is needed', put({ phase: 'started', id, pid: 4711 })],
  ]
  let directory: InstanceDirectory
  beforeEach(async () => {
    mkdirSync(join(clone, 'artifact'))
    directory = instanceDirectory(join(clone, 'instances'), id)
    await beginAnew(directory, id)
    await writeRecord(directory, started)
    expect(await readRecord(directory, id)).toEqual(started)
    rmSync(directory.record)
  })

  it.each(wrecks)('by %s counts as none, at once, and is not in the way of the next start', async (_, wreck) => {
    wreck(directory.record)
    execFileSync('mkfifo', [`${directory.record}.draft`])
    mkdirSync(directory.scope)
    expect(await readRecord(directory, id)).toBeNull()
    await beginAnew(directory, id)
    await furnish(directory, join(clone, 'artifact'), {})
    await writeRecord(directory, started)
    expect(await readRecord(directory, id)).toEqual(started)
  })

  it('by locking it away counts as none, but the instance is not gone', async () => {
    await writeRecord(directory, started)
    chmodSync(directory.path, 0)
    expect(await isGone(directory)).toBe(false)
    await beginAnew(directory, id)
    expect(await readRecord(directory, id)).toEqual({ phase: 'intent', id })
    rmSync(directory.record)
    expect(await isGone(directory)).toBe(true)
  })
})
