import { spawn } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { isGone } from '../../runtime/builders/testing.ts'
import { systemClock } from '../../runtime/clock.ts'
import { createWorkbench, type Workbench } from './workbench.ts'

// Small, without dependencies, and with versions that never change.
const DEPENDENCIES = { 'is-number': '7.0.0' }
const packageJson = (fields: object = {}) =>
  JSON.stringify({ name: 'app', private: true, dependencies: DEPENDENCIES, ...fields })
const SERVER = 'console.log(require("is-number")(5) ? "a number" : "none")'

let cacheDir: string
let bench: Workbench
beforeAll(() => {
  cacheDir = mkdtempSync(join(tmpdir(), 'coppice-cache-'))
})
beforeEach(() => {
  bench = createWorkbench({ cacheDir })
})
afterEach(() => bench.remove())
afterAll(() => removeTree(cacheDir))

describe('a Node app without dependencies', () => {
  it('R3.6 is built without starting any program', async () => {
    const hello = join(bench.home, 'hello')
    cpSync(join(import.meta.dirname, '../../examples/hello'), hello, { recursive: true })
    const first = await bench.build(hello)
    expect(first).toMatchObject({ built: ['source'], layers: [] })
    expect(await bench.build(hello, { preinstalled: true })).toMatchObject({ built: [], artifact: first.artifact })
    expect(bench.commands).toEqual([])
    expect((await bench.artifacts.open(first.artifact))?.run).toMatchObject({
      command: ['node', 'server.js'],
      env: [{ name: 'HELLO_VERSION', value: '1' }],
      runtime: 'node',
    })
  })

  it('R3.6 runs its build script, and only that', async () => {
    const { artifact, built } = await bench.build(
      bench.folder('app', {
        'package.json': packageJson({ dependencies: {}, scripts: { build: 'node make.js', start: 'cat out/made' } }),
        'make.js': 'const fs = require("fs"); fs.mkdirSync("out"); fs.writeFileSync("out/made", "made by the build")',
      }),
    )
    expect(built).toEqual(['source'])
    expect(bench.commands.map((argv) => argv.slice(-2))).toEqual([['run', 'build']])
    expect(await bench.runIn(artifact)).toContain('made by the build')
  })
})

describe('a Node app with dependencies', () => {
  it('R4.2 has them in a layer that a changed source, version or script uses again', async () => {
    const path = bench.folder('app', {
      'package.json': packageJson(),
      'app.yaml': 'command: [node, app.js]',
      'app.js': SERVER,
    })
    const first = await bench.build(path)
    expect(first.built).toEqual(['dependencies', 'source'])
    expect(await bench.runIn(first.artifact)).toBe('a number')
    bench.commands.length = 0
    bench.folder('app', {
      'app.js': `${SERVER}\n// changed`,
      'package.json': packageJson({ version: '2.0.0', scripts: { start: 'node app.js' } }),
    })
    const second = await bench.build(path)
    expect(second).toMatchObject({ built: ['source'], layers: first.layers })
    expect(bench.commands).toEqual([])
    expect(await bench.runIn(second.artifact)).toBe('a number')
    expect((await bench.build(path)).built).toEqual([])
  })

  it('with package-lock.json is installed by npm ci, which takes exactly that', async () => {
    const lock = {
      name: 'app',
      lockfileVersion: 3,
      packages: {
        '': { name: 'app', dependencies: DEPENDENCIES },
        'node_modules/is-number': {
          version: '7.0.0',
          integrity: 'sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng==',
        },
      },
    }
    const files = { 'app.yaml': 'command: [node, app.js]', 'app.js': SERVER, 'package-lock.json': JSON.stringify(lock) }
    const { artifact } = await bench.build(bench.folder('app', { ...files, 'package.json': packageJson() }))
    expect(bench.commands[0]?.at(-1)).toBe('ci')
    expect(await bench.runIn(artifact)).toBe('a number')

    const changed = packageJson({ dependencies: { 'is-number': '6.0.0' } })
    const error = await bench
      .build(bench.folder('other', { ...files, 'package.json': changed }))
      .catch((error) => error)
    expect(error).toMatchObject({ code: 'BuildFailed', details: { step: 'npm ci' } })
    expect(error.details.logLines.join('\n')).toMatch(
      /lock file's is-number@7\.0\.0 does not satisfy is-number@6\.0\.0/,
    )
    expect(bench.names('making')).toEqual([])
  })

  it('with pnpm-lock.yaml is installed by pnpm, and can be moved', async () => {
    const lock = `lockfileVersion: '9.0'
settings:
  autoInstallPeers: true
  excludeLinksFromLockfile: false
importers:
  .:
    dependencies:
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
    const { artifact, built } = await bench.build(
      bench.folder('app', {
        'package.json': packageJson(),
        'app.yaml': 'command: [node, app.js]',
        'app.js': SERVER,
        'pnpm-lock.yaml': lock,
      }),
    )
    expect(built).toEqual(['dependencies', 'source'])
    expect(bench.commands[0]).toContain('--frozen-lockfile')
    expect(await bench.runIn(artifact)).toBe('a number')
  })

  it('is built with a copy of its packages, which are linked from the layer when it runs', async () => {
    const files = {
      'package.json': packageJson({ scripts: { build: 'node make.js', start: 'node app.js' } }),
      'make.js': `const fs = require("fs")
fs.mkdirSync("node_modules/.cache"); fs.writeFileSync("node_modules/.cache/x", "")
fs.writeFileSync("made.js", "module.exports = " + require("is-number")("7"))`,
      'app.js': 'console.log(require("./made.js"), require("is-number")(1))',
    }
    const { artifact, layers } = await bench.build(bench.folder('app', files))
    expect(layers).toHaveLength(1)
    const opened = await bench.artifacts.open(artifact)
    expect(opened?.run.links).toEqual({ node_modules: join(bench.treeOf(layers[0] as string), 'node_modules') })
    expect(await bench.runIn(artifact)).toContain('true true')
    expect((await bench.artifacts.scrub()).damaged).toEqual([])
  })

  it('whose build generates code into its packages keeps what it generated', async () => {
    const files = {
      'package.json': packageJson({ scripts: { build: 'node make.js', start: 'node app.js' } }),
      'make.js': 'require("fs").writeFileSync("node_modules/is-number/generated.js", "module.exports = 42")',
      'app.js': 'console.log(require("is-number/generated.js"), require("is-number")(1))',
    }
    const { artifact, layers } = await bench.build(bench.folder('app', files))
    expect(layers).toEqual([])
    expect((await bench.artifacts.open(artifact))?.run.links).toEqual({})
    expect(await bench.runIn(artifact)).toContain('42 true')
    expect((await bench.artifacts.scrub()).damaged).toEqual([])
  })

  it('with install scripts and packages of its own is installed with its source', async () => {
    const files = {
      'package.json': packageJson({
        dependencies: { ...DEPENDENCIES, own: 'file:./own' },
        scripts: { postinstall: 'node after.js', start: 'node app.js' },
      }),
      'own/package.json': '{"name": "own", "version": "1.0.0"}',
      'own/index.js': 'module.exports = "own"',
      'after.js': 'require("fs").writeFileSync("after.txt", "installed")',
      'app.js': 'console.log(require("own"), require("fs").readFileSync("after.txt", "utf8"))',
    }
    const path = bench.folder('app', files)
    const first = await bench.build(path)
    expect(first).toMatchObject({ built: ['source'], layers: [] })
    expect(await bench.runIn(first.artifact)).toContain('own installed')
    const programs = (await bench.artifacts.open(first.artifact))?.run.path
    expect(programs).toEqual([join(bench.treeOf(first.artifact), 'node_modules/.bin')])
    expect((await bench.build(path)).built).toEqual([])
    bench.folder('app', { 'own/index.js': 'module.exports = "changed"' })
    expect(await bench.runIn((await bench.build(path)).artifact)).toContain('changed installed')
  })

  it('R4.3 whose layer was damaged gets it again', async () => {
    const path = bench.folder('app', {
      'package.json': packageJson({ scripts: { start: 'node app.js' } }),
      'app.js': SERVER,
    })
    const first = await bench.build(path)
    const file = join(bench.treeOf(first.layers[0] as string), 'node_modules/is-number/index.js')
    chmodSync(file, 0o644)
    appendFileSync(file, 'process.exit(1)')
    expect(await bench.build(path)).toMatchObject({ artifact: first.artifact, built: ['dependencies'] })
    expect(await bench.runIn(first.artifact)).toContain('a number')
  })

  it.runIf(process.platform === 'linux')('R13.4 is built without what root can do to others', async () => {
    const files = {
      'package.json': packageJson({
        dependencies: {},
        scripts: { build: 'grep Cap /proc/self/status', start: 'true' },
      }),
    }
    const { log } = await bench.build(bench.folder('app', files))
    const sets = log.flatMap((line) => /^Cap(?:Prm|Eff|Inh|Amb):\s*(\w+)/.exec(line)?.[1] ?? [])
    expect(sets).toEqual(['0', '0', '0', '0'].map((digit) => digit.repeat(16)))
  })

  it.each([
    ['a named pipe', 'mkfifo node_modules/pipe', 'node_modules/pipe is a named pipe (FIFO)'],
    [
      'a socket',
      `node -e "require('net').createServer().listen('s', () => process.kill(process.pid, 'SIGKILL'))"; true`,
      's is a socket',
    ],
    [
      'folders that are nested too deep',
      `node -e "for (let i = 0; i < 60; i++) { fs.mkdirSync('d'.repeat(100)); process.chdir('d'.repeat(100)) }"`,
      'is nested deeper than a path can be long',
    ],
    [
      'such folders among its packages',
      `node -e "process.chdir('node_modules'); for (let i = 0; i < 60; i++) { fs.mkdirSync('d'.repeat(100)); process.chdir('d'.repeat(100)) }"`,
      'is nested deeper than a path can be long',
    ],
  ])('R13.8 whose build leaves %s is told so, and leaves nothing', async (_, build, words) => {
    const path = bench.folder('app', { 'package.json': packageJson({ scripts: { build, start: 'true' } }) })
    const error = await bench.build(path).catch((error) => error)
    expect(error).toMatchObject({ code: 'BuildFailed', message: expect.stringContaining(words) })
    expect([...bench.names('making'), ...bench.names('trash')]).toEqual([])
  })

  it('R13.8 whose build puts named pipes beside its folder is sealed all the same, and waits for none', async () => {
    const build = 'cd .. && mkfifo manifest manifest.new entry entry.new; true'
    const path = bench.folder('app', {
      'package.json': packageJson({ dependencies: {}, scripts: { build, start: 'true' } }),
    })
    const { artifact } = await bench.build(path)
    expect(await bench.artifacts.open(artifact)).not.toBeNull()
    expect([...bench.names('making'), ...bench.names('trash')]).toEqual([])
  })

  it.each([
    ['its folder by a link', 'mv ../tree ../t2 && ln -s "$OUTSIDE" ../tree'],
    ['its folder by another one', 'mv ../tree ../t2 && mv "$OUTSIDE/folder" ../tree'],
    ['the stage by a link', 'cd ../.. && for stage in *; do mv $stage ../gone && ln -s "$OUTSIDE" $stage; done'],
  ])(
    'R13.4 whose build replaces %s is refused, and nothing elsewhere is sealed, read or changed',
    async (_, script) => {
      const outside = join(bench.home, 'outside')
      mkdirSync(join(outside, 'folder'), { recursive: true })
      mkdirSync(join(outside, 'tree'))
      for (const name of ['secret', 'tree/secret']) writeFileSync(join(outside, name), 'secret', { mode: 0o600 })
      const path = bench.folder('app', {
        'package.json': packageJson({ dependencies: {}, scripts: { build: 'sh replace', start: 'true' } }),
        replace: script.replaceAll('$OUTSIDE', outside),
      })
      const error = await bench.build(path).catch((error) => error)
      expect(error).toMatchObject({
        code: 'BuildFailed',
        message: expect.stringContaining('something else in the place of the folder'),
      })
      for (const name of ['secret', 'tree/secret']) expect(statSync(join(outside, name)).mode & 0o777).toBe(0o600)
      for (const name of ['.', 'tree']) expect(statSync(join(outside, name)).mode & 0o222).not.toBe(0)
      expect(bench.names('kept')).toEqual([])
      expect(bench.names('making')).toEqual([])
    },
  )

  it('R13.4 whose build replaces its packages by a link gets nothing of what that leads to', async () => {
    const outside = join(bench.home, 'outside')
    mkdirSync(outside)
    writeFileSync(join(outside, 'secret'), 'secret', { mode: 0o600 })
    const path = bench.folder('app', {
      'package.json': packageJson({
        scripts: { build: `rm -r node_modules; ln -s ${outside} node_modules`, start: 'true' },
      }),
    })
    const { artifact } = await bench.build(path)
    expect(readlinkSync(join(bench.treeOf(artifact), 'node_modules'))).toBe(outside)
    expect(statSync(join(outside, 'secret')).mode & 0o777).toBe(0o600)
  })

  it('R13.4 whose installation makes its packages a link gets no layer, from which builds would be given what that leads to', async () => {
    const install = `mkdir ../outside; ln -s ../outside node_modules`
    const linked = createWorkbench({
      cacheDir,
      spawn: (_program, _args, options) => spawn('/bin/sh', ['-c', install], options),
    })
    try {
      const path = linked.folder('app', { 'package.json': packageJson({ scripts: { start: 'true' } }) })
      const error = await linked.build(path).catch((error) => error)
      expect(error).toMatchObject({ code: 'BuildFailed', details: { field: 'node_modules' } })
      expect([...linked.names('kept'), ...linked.names('making')]).toEqual([])
    } finally {
      await linked.remove()
    }
  })

  it('R3.6 whose build watches its files is given up with all that it started, and told what to look for', async () => {
    const limits = new Map<number, () => void>()
    const after = (ms: number, reached: () => void) => {
      limits.set(ms, reached)
      return () => limits.delete(ms)
    }
    const slow = createWorkbench({ cacheDir, clock: { ...systemClock, after } })
    try {
      const pidFile = join(slow.home, 'pid')
      const build = `node -e 'require("fs").writeFileSync("${pidFile}", String(process.pid)); console.log("watching"); setInterval(() => 0, 1e6)'`
      const path = slow.folder('app', {
        'package.json': packageJson({ dependencies: {}, scripts: { build, start: 'true' } }),
      })
      const building = slow.build(path).catch((error) => error)
      const pid = await vi.waitFor(() => Number(readFileSync(pidFile, 'utf8')) || expect.unreachable(), 60_000)
      limits.get(25 * 60_000)?.()
      const error = await building
      expect(error).toMatchObject({ code: 'BuildFailed', details: { step: 'Running npm run build' } })
      expect(error.message).toContain('The build did not end within 25 minutes')
      expect(error.message).toContain('--watch')
      expect(error.details.logLines).toContain('$ npm run build')
      expect(isGone(pid)).toBe(true)
      expect([...slow.names('kept'), ...slow.names('making'), ...slow.names('trash')]).toEqual([])
      expect(limits.size).toBe(0)
    } finally {
      await slow.remove()
    }
  })

  it('R3.6 whose Python is not found in time is not told that there is none', async () => {
    let reach = () => {}
    const after = (_ms: number, reached: () => void) => {
      reach = reached
      return () => {}
    }
    const asked = Promise.withResolvers<void>()
    const slow = createWorkbench({
      cacheDir,
      clock: { ...systemClock, after },
      spawn: (_program, _args, options) => {
        asked.resolve()
        return spawn('/bin/sh', ['-c', 'sleep 600'], options)
      },
    })
    try {
      const building = slow.build(slow.folder('app', { 'app.py': '', 'requirements.txt': '' })).catch((error) => error)
      await asked.promise
      reach()
      expect((await building).message).toContain('The build did not end within 25 minutes')
    } finally {
      await slow.remove()
    }
  })

  it('that cannot be built fails with the last lines and leaves nothing', async () => {
    const path = bench.folder('app', {
      'package.json': packageJson({ dependencies: {}, scripts: { build: 'echo the reason; exit 3', start: 'true' } }),
    })
    const error = await bench.build(path).catch((error) => error)
    expect(error).toMatchObject({ code: 'BuildFailed', details: { step: 'npm run build' } })
    expect(error.message).toBe('npm run build ended with exit code 3')
    expect(error.details.logLines).toContain('the reason')
    expect([...bench.names('kept'), ...bench.names('making'), ...bench.names('trash')]).toEqual([])
  })
})

describe('an app of both', () => {
  it('R3.6 has Node packages, then Python packages, then its build, and is started by npm', async () => {
    const { artifact, built, layers, log } = await bench.build(
      bench.folder('app', {
        'package.json': packageJson({ scripts: { build: 'python make.py', start: 'python app.py' } }),
        'requirements.txt': 'itsdangerous==2.2.0\n',
        'make.py': 'import itsdangerous; open("made", "w").write("by " + itsdangerous.__name__)',
        'app.py': 'import itsdangerous; print(open("made").read())',
      }),
    )
    expect(built).toEqual(['dependencies', 'source'])
    expect(layers).toHaveLength(2)
    const commands = log.filter((line) => line.startsWith('$ '))
    expect(commands.map((line) => line.split(' ').slice(1, 3).join(' '))).toEqual([
      'npm install',
      'uv venv',
      'uv pip',
      'npm run',
    ])
    expect((await bench.artifacts.open(artifact))?.run.command).toEqual(['npm', 'run', 'start'])
    expect(await bench.runIn(artifact)).toContain('by itsdangerous')
  })

  it('that nothing says how to start is refused before anything is installed', async () => {
    const error = await bench.build(bench.folder('app', { 'README.md': '' })).catch((error) => error)
    expect(error.code).toBe('NoCommand')
    expect(bench.commands).toEqual([])
  })

  it('that only the deployment says how to start is built, and takes no command from another deployment', async () => {
    const path = bench.folder('app', { 'main.js': 'console.log("it runs")' })
    const { artifact, built } = await bench.build(path, { command: ['node', 'main.js'] })
    expect(built).toEqual(['source'])
    expect((await bench.artifacts.open(artifact))?.run.command).toEqual([])
    expect(await bench.runIn(artifact, ['node', 'main.js'])).toBe('it runs')
    await expect(bench.build(path)).rejects.toMatchObject({ code: 'NoCommand' })
  })

  it('R13.3 with a wrong app.yaml is refused before anything is installed', async () => {
    const files = { 'package.json': packageJson(), 'app.yaml': 'comand: [x]' }
    await expect(bench.build(bench.folder('app', files))).rejects.toMatchObject({
      code: 'AppConfigInvalid',
      details: { field: 'comand' },
    })
    expect(bench.commands).toEqual([])
  })
})
