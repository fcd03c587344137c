import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, realpath, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
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
  // What tools look for in every folder above: types that are global, settings that end the build, themselves.
  await writeFiles(clone, {
    'node_modules/@types/leaked/index.d.ts': 'declare const leaked: string\n',
    'node_modules/@types/leaked/package.json': '{"name": "@types/leaked", "version": "1.0.0", "types": "index.d.ts"}',
    'postcss.config.js': 'throw new Error("the settings of the clone were read")',
  })
  for (const tool of ['tsc', 'vite']) await writeProgram(join(clone, 'node_modules', '.bin', tool))
  platform = await Platform.start({ home: join(clone, '.coppice'), env: { XDG_STATE_HOME: join(folder, 'state') } })
})
afterAll(async () => {
  await platform?.stop()
  await removeTree(folder)
})

type Declared = { dependencies: Record<string, string>; more?: object; lock?: string; at?: string }

const PNPM_LOCK = `lockfileVersion: '9.0'
settings:
  autoInstallPeers: true
  excludeLinksFromLockfile: false
importers:
  .:
    dependencies:
      declared:
        specifier: link:./declared
        version: link:declared
      is-number:
        specifier: 7.0.0
        version: 7.0.0
packages:
  is-number@7.0.0:
    resolution: {integrity: sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng==}
    engines: {node: '>=0.12.0'}
snapshots:
  is-number@7.0.0: {}
`

it.each<[string, Declared]>([
  // A package of the app's own folder is installed with its source; one of a registry is a layer that is linked.
  ['beside-its-source', { dependencies: { declared: 'file:./declared' } }],
  ['in-a-layer', { dependencies: { 'is-number': '7.0.0' } }],
  ['none', { dependencies: {} }],
  ['by-pnpm', { dependencies: { declared: 'link:./declared', 'is-number': '7.0.0' }, lock: PNPM_LOCK }],
  [
    'in-npm-workspaces',
    { dependencies: { declared: '1.0.0', 'is-number': '7.0.0' }, more: { workspaces: ['packages/*'] }, at: 'packages' },
  ],
])(
  'R3.6 an app with its packages %s finds what it declares and nothing of the clone, in its build and when it runs',
  async (how, { dependencies, more = {}, lock, at = '' }) => {
    const name = `probe-${how}`
    const source = join(platform.sources, name)
    if (lock !== undefined) await writeFiles(source, { 'pnpm-lock.yaml': lock })
    await writeFiles(source, {
      'package.json': JSON.stringify({
        name,
        type: 'module',
        dependencies,
        ...more,
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
  // To look around takes seconds on a busy machine, and whoever asks whether it is well does not wait for so long.
  if (name === '') return response.end('well')
  const found = name === 'built' ? JSON.parse(readFileSync('built.json', 'utf8')) : await lookAround(name)
  response.setHeader('content-type', 'application/json').end(JSON.stringify(found))
}).listen(Number(process.env.PORT), '0.0.0.0')`,
    })
    await writePackage(join(source, at), 'declared')
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

/** Of the tools that people build with, from npm: what they resolve, and what they read of folders above. */
const TOOLS: Record<string, { packages: object; files: (imports: string) => Record<string, string>; says: RegExp[] }> =
  {
    tsc: {
      packages: { typescript: '5.9.3' },
      files: (imports) => ({
        'tsconfig.json':
          '{"compilerOptions": {"module": "nodenext", "strict": true, "outDir": "out"}, "include": ["src"]}',
        'src/made.ts': `import found from '${imports}'\n${imports === 'declared' ? '' : 'console.log(leaked)'}\nexport const made: string = found\n`,
        'server.js': `import { createServer } from 'node:http'
import { made } from './out/made.js'
createServer((_, response) => response.end(JSON.stringify({ made }))).listen(Number(process.env.PORT), '0.0.0.0')`,
      }),
      says: [/TS2307.*'undeclared'/, /TS2304.*'leaked'/],
    },
    vite: {
      packages: { vite: '7.3.8' },
      files: (imports) => ({
        'index.html': '<!doctype html><script type="module" src="/main.js"></script>',
        'main.js': `import found from '${imports}'\nglobalThis.made = found\n`,
        'server.js': `import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
const [file] = readdirSync('dist/assets')
const code = readFileSync('dist/assets/' + file, 'utf8')
createServer((_, response) => response.end(JSON.stringify({ made: /globalThis\\.made=/.test(code) && /found/.exec(code)?.[0] }))).listen(Number(process.env.PORT), '0.0.0.0')`,
      }),
      says: [/undeclared/],
    },
  }

it.each(Object.keys(TOOLS))(
  'R3.6 a build by %s finds what the app declares, and neither packages, types nor settings of the clone',
  async (tool) => {
    const { packages, files, says } = TOOLS[tool] as (typeof TOOLS)[string]
    const source = join(platform.sources, tool)
    const write = (imports: string, devDependencies: object) =>
      writeFiles(source, {
        'package.json': JSON.stringify({
          name: tool,
          private: true,
          type: 'module',
          dependencies: { declared: 'file:./declared' },
          devDependencies,
          scripts: { build: tool === 'tsc' ? 'tsc' : 'vite build' },
        }),
        'app.yaml': 'command: [node, server.js]\n',
        ...files(imports),
      })
    await writePackage(source, 'declared')
    // The tool itself is a package as others are: that of the clone is not for it.
    await write('declared', {})
    const without = await platform.deploy(tool, { instances: 1 })
    expect(without.failure).toMatchObject({ code: 'BuildFailed' })
    expect(without.failure?.log_lines?.join('\n')).toMatch(new RegExp(`${tool}: not found`))

    await write('undeclared', packages)
    const bad = await platform.deploy(tool)
    expect(bad.failure).toMatchObject({ code: 'BuildFailed', step: 'Build the artifact' })
    for (const words of says) expect(bad.failure?.log_lines?.join('\n')).toMatch(words)

    await write('declared', packages)
    const good = await platform.deploy(tool)
    expect(good.failure).toBeUndefined()
    expect((await platform.ask(tool)).body).toEqual({ made: 'found' })
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
    'package.json': JSON.stringify({
      name,
      version: '1.0.0',
      main: 'index.cjs',
      module: 'index.mjs',
      types: 'index.d.ts',
      bin: { [`${name}-tool`]: 'tool.sh' },
    }),
    'index.cjs': 'module.exports = "found"',
    // For bundlers.
    'index.mjs': 'export default "found"',
    'index.d.ts': 'declare const found: string\nexport = found\n',
  })
  await writeProgram(join(modules, name, 'tool.sh'))
  if (modules.endsWith('node_modules')) await writeProgram(join(modules, '.bin', `${name}-tool`))
}

async function writeProgram(path: string): Promise<void> {
  await writeFiles(dirname(path), { [basename(path)]: '#!/bin/sh\necho found\n' })
  await chmod(path, 0o755)
}

async function writeFiles(folder: string, files: Record<string, string>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), content)
  }
}
