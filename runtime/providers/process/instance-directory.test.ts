import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { removeTree } from '../../artifacts/trees.ts'
import { furnish, instanceDirectory, writeRecord } from './instance-directory.ts'

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
  await writeRecord(directory, { phase: 'intent', id: 'shop-1-0' })
  await furnish(directory, artifact, {})
  const said = execFileSync(process.execPath, ['server.js'], { cwd: directory.work, encoding: 'utf8' })
  expect(said.trim()).toBe('/')
})
