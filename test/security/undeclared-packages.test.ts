import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, realpath, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { coppice } from '../cli/cli.ts'
import { Platform } from '../helpers/platform.ts'

/**
 * The data directory lies in a clone by default, and a clone has packages of its own. Node, npm and every bundler look
 * for packages in each folder above the one they work in.
 */
let folder: string
let clone: string
let platform: Platform

/** How an app could come by a package or its program; every way that finds it answers `found`. */
const PROBE = `
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
const run = (program, ...args) => execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim().split('\\n').at(-1)
const inWorker = (code) => new Promise((resolve, reject) => {
  const worker = new Worker(code, { eval: true })
  worker.once('message', resolve).once('error', reject)
})
const WAYS = (name) => ({
  require: () => createRequire(import.meta.url)(name),
  import: async () => (await import(name)).default,
  'require in a worker': () => inWorker("require('node:worker_threads').parentPort.postMessage(require('" + name + "'))"),
  'import in a worker': () => inWorker("import('" + name + "').then((found) => require('node:worker_threads').parentPort.postMessage(found.default))"),
  'require in a child': () => run(process.execPath, '-p', "require('" + name + "')"),
  'a child without an environment': () => run('env', '-i', process.execPath, '-p', "require('" + name + "')"),
  PATH: () => run('sh', '-c', name + '-tool'),
  npx: () => run('npx', '--no-install', name + '-tool'),
  'npm run': () => run('npm', 'run', '--silent', name),
})
export async function lookAround(name) {
  const found = {}
  for (const [way, look] of Object.entries(WAYS(name))) {
    found[way] = await Promise.resolve().then(look).catch((error) => 'missing: ' + (error.code ?? error.status ?? error.message))
  }
  return found
}
`
const WAYS = ['require', 'import', 'require in a worker', 'import in a worker', 'require in a child'].concat([
  'a child without an environment',
  'PATH',
  'npx',
  'npm run',
])

beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'coppice-clone-')))
  clone = join(folder, 'clone')
  await mkdir(clone)
  await writeFile(join(clone, 'package.json'), '{"name": "coppice", "type": "module"}')
  await writePackage(join(clone, 'node_modules'), 'undeclared')
  platform = await Platform.start({ home: join(clone, '.coppice'), env: { XDG_STATE_HOME: join(folder, 'state') } })
})
afterAll(async () => {
  await platform?.stop()
  await removeTree(folder)
})

it.each([
  // A package of the app's own folder is installed with its source; one of a registry is a layer that is linked.
  ['with its packages beside its source', { declared: 'file:./declared' }],
  ['with its packages in a layer', { 'is-number': '7.0.0' }],
  ['without packages', {}],
])(
  'R3.6 an app %s finds what it declares and nothing of the clone, in its build and when it runs',
  async (_, dependencies) => {
    const name = `probe-${Object.keys(dependencies)[0] ?? 'none'}`
    const source = join(platform.sources, name)
    await writeFiles(source, {
      'package.json': JSON.stringify({
        name,
        type: 'module',
        dependencies,
        scripts: { build: 'node build.js', undeclared: 'undeclared-tool', declared: 'declared-tool' },
      }),
      'app.yaml': 'command: [node, server.js]\nenv:\n  - name: NODE_OPTIONS\n    value: --stack-trace-limit=20\n',
      'probe.js': PROBE,
      'build.js': `import { writeFileSync } from 'node:fs'
import { lookAround } from './probe.js'
writeFileSync('built.json', JSON.stringify(await lookAround('undeclared')))`,
      'server.js': `import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { lookAround } from './probe.js'
createServer(async (request, response) => {
  const name = request.url.slice(1)
  const found = name === 'built' ? JSON.parse(readFileSync('built.json', 'utf8')) : await lookAround(name)
  response.setHeader('content-type', 'application/json').end(JSON.stringify(found))
}).listen(Number(process.env.PORT), '0.0.0.0')`,
    })
    await writePackage(source, 'declared')
    const { state, failure } = await platform.deploy(name, { instances: 1 })
    expect(failure).toBeUndefined()
    expect(state).toBe('SUCCEEDED')

    const found = async (what: string) =>
      (await platform.ask(name, { path: `/${what}` })).body as Record<string, string>
    const missing = Object.fromEntries(WAYS.map((way) => [way, expect.stringMatching(/^missing: /)]))
    expect(await found('built')).toEqual(missing)
    expect(await found('undeclared')).toEqual(missing)
    if ('declared' in dependencies)
      expect(await found('declared')).toEqual(Object.fromEntries(WAYS.map((way) => [way, 'found'])))
    if ('is-number' in dependencies)
      expect(await found('is-number')).toMatchObject({ 'require in a child': expect.stringMatching(/Function/) })
  },
)

it('R14.3 the trees that lie outside the data directory go with it', async () => {
  const trees = await realpath(join(platform.stack.home, 'instances'))
  expect(trees).not.toContain(clone)
  await platform.stack.stop()
  const purged = await coppice(['down', '--purge'], { home: platform.stack.home }).ended
  expect(purged, purged.err).toMatchObject({ code: 0 })
  expect([platform.stack.home, dirname(trees)].filter(existsSync)).toEqual([])
})

/** A package that says \`found\`, however it is loaded, with a program that says so too. */
async function writePackage(modules: string, name: string): Promise<void> {
  await writeFiles(join(modules, name), {
    'package.json': JSON.stringify({ name, version: '1.0.0', main: 'index.cjs', bin: { [`${name}-tool`]: 'tool.sh' } }),
    'index.cjs': 'module.exports = "found"',
    'tool.sh': '#!/bin/sh\necho found\n',
  })
  await chmod(join(modules, name, 'tool.sh'), 0o755)
  if (!modules.endsWith('node_modules')) return
  await writeFiles(join(modules, '.bin'), { [`${name}-tool`]: '#!/bin/sh\necho found\n' })
  await chmod(join(modules, '.bin', `${name}-tool`), 0o755)
}

async function writeFiles(folder: string, files: Record<string, string>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
}
