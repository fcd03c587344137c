import { execFile, execFileSync, spawn } from 'node:child_process'
import { appendFileSync, chmodSync, existsSync, mkdtempSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { isGone } from '../../runtime/builders/testing.ts'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'
import { createWorkbench, endlessPackage, type Workbench } from './workbench.ts'

// Small, without dependencies, and with versions that never change.
const REQUIREMENTS = 'itsdangerous==2.2.0\n'
const PREINSTALLED = 'itsdangerous==2.1.2\nclick==8.1.7\n'
const versionOf = (name: string) => [
  'python',
  '-c',
  `from importlib.metadata import version; print(version("${name}"))`,
]

let cacheDir: string
let bench: Workbench
beforeAll(() => {
  cacheDir = mkdtempSync(join(tmpdir(), 'coppice-cache-'))
})
beforeEach(() => {
  bench = createWorkbench({ cacheDir, preinstalled: PREINSTALLED })
})
afterEach(() => bench.remove())
afterAll(() => removeTree(cacheDir))

describe('an app with requirements.txt', () => {
  const files = { 'app.py': 'import itsdangerous; print(itsdangerous.__name__)', 'requirements.txt': REQUIREMENTS }

  it('R3.6 is built with its packages, and runs by the default command', async () => {
    const built = await bench.build(bench.folder('app', files))
    expect(built.built).toEqual(['dependencies', 'source'])
    expect(built.log.join('\n')).toContain('itsdangerous==2.2.0')
    expect(built.progress).toContain('Installing the packages of requirements.txt')
    expect(await bench.runIn(built.artifact)).toBe('itsdangerous')
    expect(bench.names('making')).toEqual([])
  })

  it('R4.1 is not built again when nothing changed, not even by another process, and no program is started', async () => {
    const path = bench.folder('app', files)
    const first = await bench.build(path)
    bench.commands.length = 0
    expect(await bench.build(path)).toMatchObject({ artifact: first.artifact, layers: first.layers, built: [] })
    expect(bench.commands).toEqual([])
    bench.moveTo(bench.home)
    expect((await bench.build(path)).built).toEqual([])
  })

  it('R4.2 with a changed app.py uses the layer that is there, and no program is started', async () => {
    const path = bench.folder('app', files)
    const first = await bench.build(path)
    bench.commands.length = 0
    bench.folder('app', { 'app.py': 'print("changed")' })
    const second = await bench.build(path)
    expect(second).toMatchObject({ layers: first.layers, built: ['source'] })
    expect(second.artifact).not.toBe(first.artifact)
    expect(bench.commands).toEqual([])
    expect(await bench.runIn(second.artifact)).toBe('changed')
    expect(await bench.runIn(first.artifact)).toBe('itsdangerous')
  })

  it('R4.1 renamed and deployed again is the same artifact', async () => {
    const path = bench.folder('app', files)
    const first = await bench.build(path)
    renameSync(path, `${path}-renamed`)
    expect(await bench.build(`${path}-renamed`)).toMatchObject({ artifact: first.artifact, built: [] })
  })

  it('D6 makes a new layer when an included file changes', async () => {
    const included = { ...files, 'requirements.txt': '-r more.txt\n', 'more.txt': '' }
    const first = await bench.build(bench.folder('app', included))
    const second = await bench.build(bench.folder('app', { 'more.txt': REQUIREMENTS }))
    expect(second.built).toEqual(['dependencies', 'source'])
    expect(second.layers).not.toEqual(first.layers)
    expect(await bench.runIn(second.artifact)).toBe('itsdangerous')
  })

  it('installs packages that lie in the source, editable ones too, and does not write into the source', async () => {
    const path = bench.folder('app', {
      'app.py': 'import local_lib; print(local_lib.WHERE, local_lib.__file__)',
      'requirements.txt': '-e ./lib\n',
      'lib/pyproject.toml':
        '[build-system]\nrequires = ["uv_build"]\nbuild-backend = "uv_build"\n[project]\nname = "local-lib"\nversion = "1"\n',
      'lib/src/local_lib/__init__.py': 'WHERE = "in the layer"\n',
    })
    const built = await bench.build(path)
    const said = await bench.runIn(built.artifact)
    expect(said).toContain('in the layer')
    expect(said).toContain(bench.treeOf(built.layers[0] as string))
    expect((await bench.sources.scrub()).damaged).toEqual([])
  })

  it('that cannot be installed fails with the last lines and leaves nothing', async () => {
    const path = bench.folder('app', { ...files, 'requirements.txt': 'itsdangerous==0.0.0.0.1\n' })
    const error = await bench.build(path).catch((error) => error)
    expect(error).toMatchObject({ code: 'BuildFailed', details: { step: 'uv pip install -r requirements.txt' } })
    expect(error.details.logLines.join('\n')).toContain('itsdangerous==0.0.0.0.1')
    expect([...bench.names('kept'), ...bench.names('making'), ...bench.names('trash')]).toEqual([])
  })

  it('keeps working when the data directory is moved', async () => {
    const built = await bench.build(bench.folder('app', { ...files, 'requirements.txt': 'click==8.1.8\n' }), {
      preinstalled: true,
    })
    renameSync(bench.home, `${bench.home}-moved`)
    bench.moveTo(`${bench.home}-moved`)
    expect(await bench.runIn(built.artifact)).toBe('itsdangerous')
  })
})

describe('a layer', () => {
  const files = { 'app.py': 'print(1)', 'requirements.txt': REQUIREMENTS }
  const module = (layer: string) =>
    join(bench.treeOf(layer), 'lib', pythonDirectory(layer), 'site-packages', 'itsdangerous', '__init__.py')
  const pythonDirectory = (layer: string) =>
    execFileSync('ls', [join(bench.treeOf(layer), 'lib')], { encoding: 'utf8' }).trim()

  it('D6 can be read by others but not written, and shares no file with the cache of uv', async () => {
    const { layers } = await bench.build(bench.folder('app', files))
    const file = module(layers[0] as string)
    const find = (...tests: string[]) =>
      execFileSync('find', [bench.treeOf(layers[0] as string), ...tests], { encoding: 'utf8' })
    expect(find('-type', 'f', '-links', '+1')).toBe('')
    expect(find('!', '-type', 'l', '-perm', '/222')).toBe('')
    const script = `cat "$1" >/dev/null && ! (echo bad >> "$1") && ! rm -f "$1" && ! touch "$(dirname "$1")/new" && echo kept`
    // Root may write everything, so it asks as somebody else.
    const asSomebody = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
    const { stdout } = await promisify(execFile)('/bin/sh', ['-c', script, 'sh', file], {
      ...asSomebody,
      encoding: 'utf8',
    })
    expect(stdout.trim()).toBe('kept')
  })

  it('R4.3 that an app wrote into all the same is noticed and made again, for this app and for others', async () => {
    const path = bench.folder('app', files)
    const first = await bench.build(path)
    const file = module(first.layers[0] as string)
    chmodSync(file, 0o644)
    appendFileSync(file, 'raise SystemExit("poisoned")\n')
    expect(await bench.artifacts.open(first.artifact)).toBeNull()
    const other = await bench.build(
      bench.folder('other', { ...files, 'app.py': 'import itsdangerous; print("clean")' }),
    )
    expect(other).toMatchObject({ layers: first.layers, built: ['dependencies', 'source'] })
    expect(await bench.runIn(other.artifact)).toBe('clean')
    expect(readFileSync(file, 'utf8')).not.toContain('poisoned')
    expect(await bench.build(path)).toMatchObject({ artifact: first.artifact, built: [] })
  })

  it('R4.3 damaged artifact is made again without its layer', async () => {
    const path = bench.folder('app', files)
    const first = await bench.build(path)
    const file = join(bench.treeOf(first.artifact), 'app.py')
    chmodSync(file, 0o644)
    writeFileSync(file, '')
    expect(await bench.artifacts.open(first.artifact)).toBeNull()
    expect(await bench.build(path)).toMatchObject({ artifact: first.artifact, built: ['source'] })
    expect(await bench.runIn(first.artifact)).toBe('1')
  })

  it('wanted by two builds at once is made once', async () => {
    const [a, b] = [bench.folder('a', files), bench.folder('b', { ...files, 'app.py': 'print(2)' })]
    const [first, second] = await Promise.all([bench.build(a), bench.build(b)])
    expect(first.layers).toEqual(second.layers)
    expect(bench.commands.filter((argv) => argv.includes('install'))).toHaveLength(1)
    expect(second.log).toEqual(first.log)
    expect([await bench.runIn(first.artifact), await bench.runIn(second.artifact)]).toEqual(['1', '2'])
  })

  it('D6 is pinned for the operation before it is made, with the source and the artifact', async () => {
    const { digest } = await bench.sources.snapshot(bench.folder('app', files))
    const built = await bench.build(bench.folder('app', files), { holder: 'op-7' })
    for (const key of [digest, built.artifact, ...built.layers])
      expect([...(bench.pinned.get(key) ?? [])]).toEqual(['op-7'])
    const collected = await bench.artifacts.collect({ maxCount: 0, maxBytes: 0, maxAgeMs: 0 })
    expect(collected).toEqual({ removed: [], kept: 2, stuck: [] })
    bench.pinned.clear()
    expect((await bench.artifacts.collect({ maxCount: 0, maxBytes: 0, maxAgeMs: 0 })).kept).toBe(0)
    expect((await bench.build(bench.folder('app', files))).built).toEqual(['dependencies', 'source'])
  })
})

describe('R3.2 the pre-installed libraries', () => {
  it('are there for a standard app, as one layer, made once', async () => {
    const first = await bench.build(bench.folder('a', { 'app.py': 'import click; print(click.__name__)' }), {
      preinstalled: true,
    })
    expect(first.built).toEqual(['preinstalled', 'source'])
    expect(await bench.runIn(first.artifact)).toBe('click')
    const second = await bench.build(bench.folder('b', { 'app.py': 'print(2)' }), { preinstalled: true })
    expect(second).toMatchObject({ built: ['source'], layers: first.layers })
  })

  it('R4.3 are those that it was built with when a build is repeated, whatever the list says by then', async () => {
    const path = bench.folder('app', { 'app.py': 'import click; print(click.__version__)' })
    const first = await bench.build(path, { preinstalled: true })
    expect(first.preinstalled).toEqual(PREINSTALLED.trim().split('\n'))
    writeFileSync(join(bench.home, 'preinstalled.txt'), 'click==8.1.3\n')
    const changed = await bench.build(path, { preinstalled: true })
    expect(changed.artifact).not.toBe(first.artifact)
    expect(await bench.runIn(changed.artifact)).toBe('8.1.3')
    bench.pinned.clear()
    await bench.artifacts.collect({ maxCount: 0, maxBytes: 0, maxAgeMs: 0 })
    const again = await bench.build(path, { preinstalled: first.preinstalled ?? false })
    expect(again).toMatchObject({ artifact: first.artifact, built: ['preinstalled', 'source'] })
    expect(await bench.runIn(again.artifact)).toBe('8.1.7')
  })

  it('are not there for a scaled app, whose environment is clean', async () => {
    const { artifact, built, preinstalled } = await bench.build(
      bench.folder('app', {
        'app.py': `import importlib.util as u; print([n for n in ("click", "itsdangerous", "pip", "flask") if u.find_spec(n)])`,
      }),
    )
    expect(built).toEqual(['dependencies', 'source'])
    expect(preinstalled).toBeNull()
    expect(await bench.runIn(artifact)).toBe('[]')
  })

  it('lie beneath the app’s own packages: its versions win, the others stay', async () => {
    const { artifact, built, layers } = await bench.build(
      bench.folder('app', { 'app.py': 'print(1)', 'requirements.txt': 'itsdangerous==2.2.0\nmarkupsafe==3.0.2\n' }),
      { preinstalled: true },
    )
    expect(built).toEqual(['preinstalled', 'dependencies', 'source'])
    expect(layers).toHaveLength(2)
    expect(await bench.runIn(artifact, versionOf('itsdangerous'))).toBe('2.2.0')
    expect(await bench.runIn(artifact, versionOf('click'))).toBe('8.1.7')
    expect(await bench.runIn(artifact, versionOf('markupsafe'))).toBe('3.0.2')
    expect(await bench.runIn(artifact, ['python', '-c', 'import itsdangerous as i; print(i.__file__)'])).toContain(
      layers[1],
    )
  })

  it('keep their versions where the app only says that it needs them, also as dependencies of others', async () => {
    const { artifact } = await bench.build(
      bench.folder('app', { 'app.py': 'import flask', 'requirements.txt': 'flask==3.0.3\nclick\n' }),
      { preinstalled: true },
    )
    expect(await bench.runIn(artifact, versionOf('click'))).toBe('8.1.7')
    expect(await bench.runIn(artifact, versionOf('itsdangerous'))).toBe('2.1.2')
    expect(await bench.runIn(artifact, ['flask', '--version'])).toContain('Flask 3.0.3')
  })

  it('have programs that see the app’s packages', async () => {
    const with_ = createWorkbench({ cacheDir, preinstalled: 'gunicorn==23.0.0\npackaging==24.1\n' })
    try {
      const app = { 'app.py': 'import itsdangerous\ndef app(*_): pass\n', 'requirements.txt': REQUIREMENTS }
      const { artifact, layers } = await with_.build(with_.folder('app', app), { preinstalled: true })
      expect(layers).toHaveLength(2)
      await with_.runIn(artifact, ['gunicorn', '--check-config', 'app:app'])
    } finally {
      await with_.remove()
    }
  })
})

describe('a package whose build puts something else in the place of what is written after it', () => {
  /** In the folder of the stage that has the source, then in the one that has its packages. */
  const withHook = (hook: string) => ({
    'app.py': 'import click, hooked; print(click.__name__, hooked.__name__)',
    'requirements.txt': './hooked\nclick==8.1.8\n',
    'hooked/pyproject.toml':
      '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "hooked"\nversion = "1"\ndynamic = ["dependencies"]\n',
    'hooked/backend.py': `import glob, os, zipfile
SOURCE = ".."
SITE = glob.glob("../../../**/site-packages", recursive=True)[0]
VENV = os.path.join(SITE, "../../..")
def build_wheel(folder, *args, **kwargs):
    ${hook}
    with zipfile.ZipFile(os.path.join(folder, "hooked-1-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("hooked.py", "")
        wheel.writestr("hooked-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: hooked\\nVersion: 1\\n")
        wheel.writestr("hooked-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("hooked-1.dist-info/RECORD", "hooked.py,,\\nhooked-1.dist-info/METADATA,,\\nhooked-1.dist-info/WHEEL,,\\nhooked-1.dist-info/RECORD,,\\n")
    return "hooked-1-py3-none-any.whl"
`,
  })

  it('R13.8 gets its layer where these are a named pipe and a link: neither is waited for or written through', async () => {
    const outside = join(bench.home, 'outside')
    const hook = `for path, put in [("../.missing.txt", os.mkfifo), (SITE + "/coppice-preinstalled.pth", lambda path: os.symlink(${JSON.stringify(outside)}, path))]:
        if not os.path.lexists(path): put(path)`
    const { artifact } = await bench.build(bench.folder('app', withHook(hook)), { preinstalled: true })
    expect(await bench.runIn(artifact)).toBe('click hooked')
    expect(existsSync(outside)).toBe(false)
  })
})

describe('an app with pyproject.toml and uv.lock', () => {
  const pyproject = (extra = '') =>
    `[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.9"\ndependencies = ["itsdangerous==2.2.0"]\n[dependency-groups]\ndev = ["click==8.1.7"]\n${extra}`
  const PACKAGE =
    '[build-system]\nrequires = ["uv_build"]\nbuild-backend = "uv_build"\n[project.scripts]\nsay = "app:say"\n'

  async function lock(path: string): Promise<void> {
    const uv = (await resolveTool('uv')).path
    execFileSync(uv, ['lock', '--quiet', '--no-config'], {
      cwd: path,
      env: {
        ...process.env,
        UV_CACHE_DIR: join(cacheDir, 'uv'),
        SSL_CERT_FILE: process.env.PIP_CERT ?? process.env.SSL_CERT_FILE,
      },
    })
  }

  it('R3.6 gets what the lock says, nothing beneath it, and no development packages', async () => {
    const path = bench.folder('app', { 'main.py': 'import itsdangerous; print("ok")', 'pyproject.toml': pyproject() })
    await lock(path)
    const first = await bench.build(path, { preinstalled: true })
    expect(first.built).toEqual(['dependencies', 'source'])
    expect(first.layers).toHaveLength(1)
    expect(await bench.runIn(first.artifact)).toBe('ok')
    await expect(bench.runIn(first.artifact, ['python', '-c', 'import click'])).rejects.toThrow(
      /No module named 'click'/,
    )
    bench.folder('app', { 'main.py': 'print("changed")' })
    expect(await bench.build(path)).toMatchObject({ built: ['source'], layers: first.layers })
  })

  it('that is a package itself is installed, and has its programs', async () => {
    const path = bench.folder('app', {
      'app.yaml': 'command: [say]',
      'src/app/__init__.py': 'def say(): print("said")',
      'pyproject.toml': pyproject(PACKAGE),
    })
    await lock(path)
    expect(await bench.runIn((await bench.build(path)).artifact)).toBe('said')
    bench.folder('app', { 'src/app/__init__.py': 'def say(): print("changed")' })
    expect(await bench.runIn((await bench.build(path)).artifact)).toBe('changed')
  })

  it('R3.6 is installed by its own settings of uv, and by none that lie in a folder above', async () => {
    const path = bench.folder('app', { 'main.py': 'import itsdangerous; print("ok")', 'pyproject.toml': pyproject() })
    await lock(path)
    const ofAnOldUv = 'required-version = "<0.0.2"\n'
    writeFileSync(join(bench.home, 'uv.toml'), ofAnOldUv)
    expect(await bench.runIn((await bench.build(path)).artifact)).toBe('ok')
    bench.folder('app', { 'pyproject.toml': pyproject(`[tool.uv]\n${ofAnOldUv}`) })
    const error = await bench.build(path).catch((error) => error)
    expect(error).toMatchObject({ code: 'BuildFailed', details: { step: 'uv sync --frozen' } })
    expect(error.details.logLines.join('\n')).toContain('<0.0.2')
  })

  it('R3.2 without its lock is refused where nothing else brings the packages, and is told what to do', async () => {
    const path = bench.folder('app', { 'main.py': 'import click; print("ok")', 'pyproject.toml': pyproject() })
    const error = await bench.build(path).catch((error) => error)
    expect(error).toMatchObject({ code: 'BuildFailed', message: expect.stringContaining('run "uv lock"') })
    const { artifact, log } = await bench.build(path, { preinstalled: true })
    expect(log.join('\n')).toContain('run "uv lock"')
    expect(await bench.runIn(artifact)).toBe('ok')
  })

  it('that needs a Python which is not here says so', async () => {
    const path = bench.folder('app', {
      'main.py': '',
      'pyproject.toml': pyproject(),
      'uv.lock': 'version = 1\nrequires-python = ">=3.99"\n',
    })
    const error = await bench.build(path).catch((error) => error)
    expect(error.code).toBe('BuildFailed')
    expect(error.message).toContain('needs Python >=3.99')
  })
})

describe('a build that is interrupted', () => {
  it('by an abort ends what it started and leaves nothing', async () => {
    const pidFile = join(bench.home, 'pid')
    const controller = new AbortController()
    const building = bench.build(bench.folder('app', endlessPackage(pidFile)), {}, controller.signal)
    const pid = await pidIn(pidFile)
    controller.abort(new Error('cancelled'))
    await expect(building).rejects.toThrow('cancelled')
    await vi.waitFor(() => expect(isGone(pid)).toBe(true))
    expect([...bench.names('kept'), ...bench.names('making'), ...bench.names('trash')]).toEqual([])
  })

  it('R4.3 R10.2 by SIGKILL of the worker leaves no process and nothing half built in place', async () => {
    const pidFile = join(bench.home, 'pid')
    const path = bench.folder('app', endlessPackage(pidFile))
    const script = join(bench.home, 'worker.ts')
    writeFileSync(
      script,
      // The clocks of the runtime keep no process alive; a worker has other things that do.
      `import { createWorkbench } from ${JSON.stringify(join(import.meta.dirname, 'workbench.ts'))}
setInterval(() => {}, 60_000)
await createWorkbench(${JSON.stringify({ cacheDir, home: bench.home })}).build(${JSON.stringify(path)})`,
    )
    const worker = spawn(process.execPath, [script], { stdio: 'inherit' })
    const pid = await pidIn(pidFile)
    worker.kill('SIGKILL')
    await vi.waitFor(() => expect(isGone(pid)).toBe(true))
    expect(bench.names('kept')).toEqual([])
    expect(bench.names('making')).toHaveLength(1)
    await bench.artifacts.sweep()
    expect(bench.names('making')).toEqual([])
    bench.folder('app', { 'requirements.txt': REQUIREMENTS })
    expect((await bench.build(path)).built).toEqual(['dependencies', 'source'])
  })
})

async function pidIn(file: string): Promise<number> {
  await vi.waitFor(() => expect(existsSync(file)).toBe(true), { timeout: 60_000, interval: 20 })
  return Number(readFileSync(file, 'utf8'))
}
