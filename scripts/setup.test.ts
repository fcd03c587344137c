import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { ROOT } from './stack-options.ts'

/** `setup.mjs` in a folder of its own, with an npm of ours that installs what it is told to. */

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-setup-'))
  mkdirSync(join(folder, 'scripts'))
  cpSync(join(ROOT, 'scripts', 'setup.mjs'), join(folder, 'scripts', 'setup.mjs'))
  lock({ a: '1.0.0' }, { other: '1.0.0' })
})
afterEach(() => removeTree(folder))

const entries = (packages: Record<string, string>, more: object = {}) =>
  Object.entries(packages).map(([name, version]) => [`node_modules/${name}`, { version, ...more }])

function lock(packages: Record<string, string>, optional: Record<string, string> = {}): void {
  const all = Object.fromEntries([['', {}], ...entries(packages), ...entries(optional, { optional: true })])
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ packages: all }))
}

/** What npm leaves behind when it has installed these, with a Node that is the one of the test. */
function install(packages: Record<string, string>): void {
  mkdirSync(join(folder, 'node_modules', 'node', 'bin'), { recursive: true })
  mkdirSync(join(folder, 'node_modules', '.bin'), { recursive: true })
  for (const place of ['node/bin/node', '.bin/node']) {
    const node = join(folder, 'node_modules', place)
    if (!existsSync(node)) symlinkSync(process.execPath, node)
  }
  const list = JSON.stringify({ packages: Object.fromEntries(entries(packages)) })
  writeFileSync(join(folder, 'node_modules', '.package-lock.json'), list)
}

/** What `npm ci` does, as far as the set-up can see. */
const INSTALLS_A = `
  const { mkdirSync, symlinkSync, writeFileSync } = require('node:fs')
  require('node:fs').rmSync('node_modules', { recursive: true, force: true })
  mkdirSync('node_modules/node/bin', { recursive: true })
  mkdirSync('node_modules/.bin')
  symlinkSync(process.execPath, 'node_modules/node/bin/node')
  symlinkSync(process.execPath, 'node_modules/.bin/node')
  writeFileSync('node_modules/.package-lock.json', '{"packages":{"node_modules/a":{"version":"1.0.0"}}}')`

function setup(npm: string) {
  const cli = join(folder, 'npm-cli.js')
  writeFileSync(
    cli,
    `require('node:fs').appendFileSync(${JSON.stringify(join(folder, 'calls'))}, process.argv[2] + ' '); ${npm}`,
  )
  const env = { ...process.env, npm_execpath: cli, npm_node_execpath: process.execPath }
  const { status, stderr } = spawnSync(process.execPath, [join(folder, 'scripts', 'setup.mjs')], {
    encoding: 'utf8',
    env,
  })
  const calls = existsSync(join(folder, 'calls')) ? readFileSync(join(folder, 'calls'), 'utf8').trim() : ''
  return { status, said: stderr, calls }
}

describe('the set-up', () => {
  it('says and does nothing when all is in place, optional packages of other platforms missing or not', () => {
    install({ a: '1.0.0' })
    expect(setup('process.exit(1)')).toEqual({ status: 0, said: '', calls: '' })
  })

  it.each([
    ['nothing is installed', () => {}],
    ['a package is missing', () => install({ b: '1.0.0' })],
    ['a package has another version', () => install({ a: '0.9.0' })],
  ])('runs npm ci when %s', (_what, arrange) => {
    arrange()
    const { status, calls, said } = setup(INSTALLS_A)
    expect({ status, calls }).toEqual({ status: 0, calls: 'ci' })
    expect(said).toContain('Packages are in place')
  })

  it('says what to do when npm fails, and fails too', () => {
    const { status, said } = setup('process.exit(1)')
    expect(status).toBe(1)
    expect(said).toContain('HTTPS_PROXY')
    expect(said).toContain('npm config set registry')
  })
})

it('package-lock.json names the optional packages of every platform, without which npm ci refuses it elsewhere', () => {
  type Entry = { optionalDependencies?: Record<string, string> }
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Entry>
  }
  const missing = Object.values(packages).flatMap((entry) =>
    Object.keys(entry.optionalDependencies ?? {}).filter(
      (name) =>
        !Object.keys(packages).some(
          (path) => path === `node_modules/${name}` || path.endsWith(`/node_modules/${name}`),
        ),
    ),
  )
  expect(missing).toEqual([])
})
