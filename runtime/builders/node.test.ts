import { lutimesSync, mkdirSync, mkdtempSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { describeTree } from '../artifacts/manifest.ts'
import type { OpenSealed } from '../artifacts/sealed-store.ts'
import { removeTree } from '../artifacts/trees.ts'
import { inspectSource } from './inspect.ts'
import type { Job } from './job.ts'
import { buildNode, NODE_MODULES } from './node.ts'

let folder: string
let source: string
let tree: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-node-'))
  source = join(folder, 'source')
  tree = join(folder, 'tree')
  for (const path of [source, tree]) mkdirSync(path)
})
afterEach(() => removeTree(folder))

/** Programs are not run, only told. */
const job = (run: Job['run']) =>
  ({ stage: { tree }, run, program: () => 'npm', onProgress: () => undefined }) as unknown as Job

const declare = (fields: object) => writeFileSync(join(source, 'package.json'), JSON.stringify(fields))

describe('a build with packages in a layer', () => {
  let layer: OpenSealed

  beforeEach(async () => {
    declare({ dependencies: { tool: '1.0.0' }, scripts: { build: 'make', start: 'serve' } })
    const path = join(folder, 'layer')
    const packages = join(path, NODE_MODULES)
    mkdirSync(join(packages, 'tool'), { recursive: true })
    mkdirSync(join(packages, '.bin'))
    writeFileSync(join(packages, 'tool', 'index.js'), 'module.exports = 1')
    symlinkSync('../tool/index.js', join(packages, '.bin', 'tool'))
    utimesSync(join(packages, 'tool', 'index.js'), 1000, 1000)
    lutimesSync(join(packages, '.bin', 'tool'), 1000, 1000)
    layer = { key: 'node-1', path, meta: null, entries: await describeTree(path) }
  })

  const linksAfter = async (script: (packages: string) => void): Promise<boolean> => {
    const run = async () => script(join(tree, NODE_MODULES))
    return (await buildNode(job(run), await inspectSource(source, null), source, layer, {})).linked
  }

  it('R3.6 links those that it has not changed, whatever tools keep beside them, and though links are newer in a copy', async () => {
    expect(await linksAfter((packages) => mkdirSync(join(packages, '.vite')))).toBe(true)
  })

  it.each<[string, (packages: string) => void]>([
    [
      'written anew to the same size',
      (packages) => writeFileSync(join(packages, 'tool/index.js'), 'module.exports = 2'),
    ],
    ['made longer', (packages) => writeFileSync(join(packages, 'tool/index.js'), 'module.exports = 10')],
    ['added', (packages) => writeFileSync(join(packages, 'tool/client.js'), '')],
  ])('R3.6 keeps those of which a file was %s', async (_, change) => {
    expect(await linksAfter(change)).toBe(false)
  })
})

it('of what npm says its list of options is left out, and nothing behind it', async () => {
  declare({ dependencies: { own: 'file:./own' }, scripts: { start: 'serve' } })
  writeFileSync(join(source, 'package-lock.json'), '{}')
  let skip: (line: string) => boolean = () => false
  const run: Job['run'] = async (_, options) => {
    skip = options.skip ?? skip
  }
  await buildNode(job(run), await inspectSource(source, null), source, null, {})
  const said = [
    'npm error code EUSAGE',
    'npm error',
    'npm error Invalid: is-number@7.0.0 does not satisfy is-number@6.0.0',
    'npm error',
    'npm error Clean install a project',
    'npm error',
    'npm error Usage:',
    'npm error npm ci',
    'npm error',
    'npm error Options:',
    'npm error [--install-strategy <hoisted|nested|shallow|linked>] [--legacy-bundling]',
    'npm error',
    'npm error Run "npm help ci" for more info',
    'npm error A complete log of this run can be found in: npm/_logs/debug-0.log',
  ]
  expect(said.filter((line) => !skip(line))).toEqual([said[0], said[2], said[4], said.at(-1)])
})
