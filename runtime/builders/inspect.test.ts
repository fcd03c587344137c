import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { needsPython } from '../../domain/runtime-contract.ts'
import { removeTree } from '../artifacts/trees.ts'
import { inspectSource, readAppConfig } from './inspect.ts'

let source: string
beforeEach(() => {
  source = mkdtempSync(join(tmpdir(), 'coppice-inspect-'))
})
afterEach(() => removeTree(source))

const put = (name: string, text: string): void => writeFileSync(join(source, name), text)

describe('R3.6 the command of a deployment', () => {
  it('is enough for a source that has none of its own', async () => {
    put('serve.sh', '')
    await expect(inspectSource(source, null)).rejects.toMatchObject({ code: 'NoCommand' })
    expect(await inspectSource(source, ['sh', 'serve.sh'])).toMatchObject({ command: [] })
  })

  it('decides in place of the source whether Python is needed, and leaves the source its own command', async () => {
    put('package.json', '{"scripts":{"start":"node server.js"}}')
    expect(needsPython((await inspectSource(source, null)).shape)).toBe(false)
    const inspection = await inspectSource(source, ['python', 'tool.py'])
    expect(needsPython(inspection.shape)).toBe(true)
    expect(inspection.command).toEqual(['npm', 'run', 'start'])
  })
})

it('app.yaml is read without a command, and is empty where there is none', async () => {
  expect(await readAppConfig(source)).toEqual({ env: [] })
  put('app.yaml', 'env: [{name: A, valueFrom: key}]')
  expect(await readAppConfig(source)).toEqual({ env: [{ name: 'A', valueFrom: 'key' }] })
})
