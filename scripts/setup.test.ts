import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { removeTree } from '../runtime/artifacts/trees.ts'
import { systemProcessTable } from '../runtime/providers/process/process-table.ts'
import { ROOT } from './stack-options.ts'

/**
 * `setup.mjs` in a clone of its own, with an npm of ours that does what it is told to. Blanks and letters beyond ASCII
 * are in the names of all its folders.
 */

let folder: string
let clone: string
const children: ChildProcess[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice set-up ä-'))
  clone = join(folder, 'a clone ü')
  mkdirSync(join(clone, 'scripts'), { recursive: true })
  mkdirSync(join(folder, 'tmp'))
  cpSync(join(ROOT, 'scripts', 'setup.mjs'), join(clone, 'scripts', 'setup.mjs'))
  lock({ a: {}, other: { optional: true } })
  writeFileSync(
    join(folder, 'older-node.cjs'),
    "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '18.20.8' } })",
  )
})
afterEach(async () => {
  // One that waits for ever, in a test that has failed.
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await removeTree(folder)
})

const entries = (packages: Record<string, object>) =>
  Object.entries(packages).map(([name, more]) => [`node_modules/${name}`, { version: '1.0.0', ...more }])

function lock(packages: Record<string, object>): void {
  const all = Object.fromEntries([['', {}], ...entries({ node: { optional: true, version: PINNED }, ...packages })])
  writeFileSync(join(clone, 'package-lock.json'), JSON.stringify({ packages: all }))
}

/** What npm leaves behind when it has installed these, with a Node that is the one of the test. */
function install(packages: Record<string, object>): void {
  mkdirSync(join(clone, 'node_modules', 'node', 'bin'), { recursive: true })
  mkdirSync(join(clone, 'node_modules', '.bin'), { recursive: true })
  for (const place of ['node/bin/node', '.bin/node']) {
    const node = join(clone, 'node_modules', place)
    if (!existsSync(node)) symlinkSync(process.execPath, node)
  }
  const list = JSON.stringify({ packages: Object.fromEntries(entries(packages)) })
  writeFileSync(join(clone, 'node_modules', '.package-lock.json'), list)
}

const PINNED = '24.0.0'
const HERE = { optional: true, os: [process.platform], cpu: [process.arch] }

/** What `npm ci` does, as far as the set-up can see. */
const CI = `
  const fs = require('node:fs')
  fs.rmSync('node_modules', { recursive: true, force: true })
  fs.mkdirSync('node_modules/node/bin', { recursive: true })
  fs.mkdirSync('node_modules/.bin')
  fs.symlinkSync(process.execPath, 'node_modules/node/bin/node')
  fs.symlinkSync(process.execPath, 'node_modules/.bin/node')
  fs.writeFileSync('node_modules/.package-lock.json', '{"packages":{"node_modules/a":{"version":"1.0.0"}}}')`

/** A Node that says so to what it runs. */
const MAKES_NODE = `
  const fs = require('node:fs')
  fs.mkdirSync('bin', { recursive: true })
  fs.writeFileSync('bin/node', '#!/bin/sh\\nPINNED=yes exec "${process.execPath}" "$@"\\n', { mode: 0o755 })`
/** What `npm install node@…` does, with and without install scripts. */
const INSTALL = `
  require('node:fs').mkdirSync('node_modules/node', { recursive: true })
  process.chdir('node_modules/node')
  ${MAKES_NODE}`
const INSTALL_WITHOUT_SCRIPTS = `
  require('node:fs').mkdirSync('node_modules/node', { recursive: true })
  require('node:fs').writeFileSync('node_modules/node/installArchSpecificPackage.js', ${JSON.stringify(MAKES_NODE)})`

type Npm = { ci?: string; install?: string; olderNode?: boolean; preload?: string; before?: string }

/** @param before what a shell does, before it becomes the set-up and gives it its pid. */
function startSetup({ ci = CI, install = INSTALL, olderNode = false, preload = '', before = '' }: Npm = {}) {
  const cli = join(folder, 'npm-cli.js')
  const note = `\`\${process.argv.slice(2, process.argv[2] === 'ci' ? 3 : 4).join(' ')}\${process.env.PINNED ? ' on the pinned Node' : ''}\\n\``
  writeFileSync(
    cli,
    `require('node:fs').appendFileSync(${JSON.stringify(join(folder, 'calls'))}, ${note})
     if (process.argv[2] === 'ci') { ${ci} } else { ${install} }`,
  )
  const required = [...(olderNode ? ['older-node.cjs'] : []), ...(preload ? ['preload.cjs'] : [])]
  writeFileSync(join(folder, 'preload.cjs'), preload)
  const flags = required.flatMap((name) => ['--require', join(folder, name)])
  const command = [process.execPath, ...flags, join(clone, 'scripts', 'setup.mjs')]
  const child = spawn('sh', ['-c', `${before}\nexec "$@"`, 'sh', ...command], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      npm_execpath: cli,
      npm_node_execpath: process.execPath,
      COPPICE_CACHE: join(folder, 'cache'),
      TMPDIR: join(folder, 'tmp'),
    },
  })
  children.push(child)
  let said = ''
  child.stderr.on('data', (chunk) => {
    said += chunk
  })
  const ended = once(child, 'close').then(([status]) => ({ status: status as number | null, said, calls: calls() }))
  return { child, ended, said: () => said }
}

/** Says who installs. */
function turn(): string {
  const key = createHash('sha256')
    .update(`${realpathSync(clone)}/`)
    .digest('hex')
    .slice(0, 16)
  return join(folder, 'tmp', `coppice-setup-${key}`)
}

const setup = (npm?: Npm) => startSetup(npm).ended

function calls(): string[] {
  const file = join(folder, 'calls')
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []
}

const until = (what: () => boolean) => vi.waitUntil(what, { timeout: 8_000, interval: 20 })
/** An npm that has begun, and goes on when the test says so. */
const WAITS = `
  const { existsSync, writeFileSync } = require('node:fs')
  const script = require('node:child_process').spawn('sleep', ['60'])
  writeFileSync('../npm-pids', process.pid + ' ' + script.pid)
  const waiting = setInterval(() => { if (existsSync('../go-on')) { clearInterval(waiting); script.kill(); ${CI} } }, 20)`

describe('the set-up', () => {
  it('says and does nothing when all is in place, optional packages of other platforms missing or not', async () => {
    lock({ a: {}, elsewhere: { optional: true, os: ['aix'] }, 'x-gnu': HERE, 'x-musl': HERE })
    install({ a: {}, 'x-musl': {} })
    expect(await setup({ ci: 'process.exit(1)' })).toEqual({ status: 0, said: '', calls: [] })
  })

  it.each([
    ['nothing is installed', () => {}],
    ['a package is missing', () => install({ b: {} })],
    ['a package has another version', () => install({ a: { version: '0.9.0' } })],
  ])('runs npm ci when %s', async (_what, arrange) => {
    arrange()
    const { status, calls, said } = await setup()
    expect({ status, calls }).toEqual({ status: 0, calls: ['ci'] })
    expect(said).toContain('Packages are in place')
  })

  it('installs again when an npm on an older Node has left out a build for this platform, and says when it stays out', async () => {
    lock({ a: {}, 'native-gnu': HERE, 'native-musl': HERE })
    install({ a: {} })
    const { status, calls, said } = await setup()
    expect({ status, calls }).toEqual({ status: 1, calls: ['ci'] })
    expect(said).toContain('npm has left out what this platform needs: native-gnu, native-musl')
  })

  it('says what to do when npm fails, and fails too', async () => {
    const { status, said } = await setup({ ci: 'process.exit(1)' })
    expect(status).toBe(1)
    expect(said).toContain('HTTPS_PROXY')
    expect(said).toContain('npm config set registry')
  })

  it.each([
    ['', INSTALL],
    [', where install scripts are forbidden too', INSTALL_WITHOUT_SCRIPTS],
  ])(
    'runs npm ci on the pinned Node where the own one is older%s, and fetches that once for all clones',
    async (_where, how) => {
      const first = await setup({ olderNode: true, install: how })
      expect(first).toMatchObject({ status: 0, calls: [`install node@${PINNED}`, 'ci on the pinned Node'] })
      await removeTree(join(clone, 'node_modules'))
      const second = await setup({ olderNode: true, install: 'process.exit(1)' })
      expect(second).toMatchObject({ status: 0, calls: [...first.calls, 'ci on the pinned Node'] })
      expect(readdirSync(join(folder, 'cache', 'tools'))).toEqual([
        `node-${PINNED}-${process.platform}-${process.arch}`,
      ])
    },
  )

  it('fails, and keeps nothing, when the pinned Node cannot be fetched or does not run here', async () => {
    const unreachable = await setup({ olderNode: true, install: 'process.exit(1)' })
    expect(unreachable).toMatchObject({ status: 1, calls: [`install node@${PINNED}`] })
    expect(unreachable.said).toContain('npm config set registry')
    const broken = INSTALL.replace('PINNED=yes exec', 'exit 1 #')
    const unfit = await setup({ olderNode: true, install: broken })
    expect(unfit.status).toBe(1)
    expect(unfit.said).toContain('The pinned Node 24 does not run here')
    expect(readdirSync(join(folder, 'cache', 'tools'))).toEqual([])
  })

  it('says which folder cannot be written, and how to name another', async () => {
    writeFileSync(join(folder, 'cache'), 'no folder')
    const { status, said } = await setup({ olderNode: true })
    expect(status).toBe(1)
    expect(said).toContain(join(folder, 'cache', 'tools'))
    expect(said).toContain('COPPICE_CACHE')
  })

  it.each([
    ['', ''],
    [
      ', also where the system tells no boot from another',
      `const fs = require('node:fs')
       const { readFileSync } = fs
       fs.readFileSync = (path, ...rest) => readFileSync(String(path).endsWith('/boot_id') ? '/nowhere' : path, ...rest)
       require('node:module').syncBuiltinESMExports()`,
    ],
  ])('waits while another one installs, and does not do it again%s', async (_where, preload) => {
    const first = startSetup({ ci: WAITS, preload })
    await until(() => existsSync(join(folder, 'npm-pids')))
    const second = startSetup({ preload })
    await until(() => second.said().includes('waiting for it'))
    expect(second.said()).toContain(`pid ${first.child.pid}`)
    expect(second.said()).toContain(turn())
    writeFileSync(join(folder, 'go-on'), '')
    expect(await first.ended).toMatchObject({ status: 0 })
    expect(await second.ended).toMatchObject({ status: 0, calls: ['ci'] })
    expect(readdirSync(join(folder, 'tmp'))).toEqual([])
  })

  it('ends its npm, and what that started, when it is ended, leaves the place to the next one, and nothing behind', async () => {
    const first = startSetup({ ci: WAITS })
    await until(() => existsSync(join(folder, 'npm-pids')))
    first.child.kill('SIGTERM')
    expect((await first.ended).status).toBe(143)
    const pids = readFileSync(join(folder, 'npm-pids'), 'utf8').split(' ').map(Number)
    const table = systemProcessTable()
    for (const pid of pids) expect((await table.row(pid))?.zombie ?? true).toBe(true)
    expect(readdirSync(join(folder, 'tmp'))).toEqual([])
    expect(await setup()).toMatchObject({ status: 0, calls: ['ci', 'ci'] })
  })

  it('does not begin while an npm whose set-up was killed is still at work', async () => {
    const first = startSetup({ ci: WAITS })
    await until(() => existsSync(join(folder, 'npm-pids')))
    // Its stderr stays open in npm, so only its exit can be awaited.
    const exited = once(first.child, 'exit')
    first.child.kill('SIGKILL')
    await exited
    const second = startSetup()
    await until(() => second.said().includes('waiting for it'))
    expect(calls()).toEqual(['ci'])
    writeFileSync(join(folder, 'go-on'), '')
    expect(await second.ended).toMatchObject({ status: 0, calls: ['ci'] })
    expect(readdirSync(join(folder, 'tmp'))).toEqual([])
  })

  it('does not wait for itself where the one that was killed had the same pid, as in a container that is started again', async () => {
    const before = `mkdir "${turn()}"; echo $$ > "${turn()}/pids"`
    expect(await setup({ before })).toMatchObject({ status: 0, calls: ['ci'] })
    expect(readdirSync(join(folder, 'tmp'))).toEqual([])
  })

  it.runIf(process.platform === 'linux')(
    'does not wait for a stranger that got the pid of the one that was killed, nor for one that nobody has taken note of',
    async () => {
      const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
      children.push(parent)
      const zombie = Number(await once(parent.stdout as NonNullable<typeof parent.stdout>, 'data'))
      // A shell would take note of its end, this does not.
      await until(() => readFileSync(`/proc/${parent.pid}/comm`, 'utf8') === 'sleep\n')
      process.kill(zombie, 'SIGKILL')
      await until(() => readFileSync(`/proc/${zombie}/stat`, 'utf8').includes(') Z '))
      const startTime = async (pid: number) => (await systemProcessTable().row(pid))?.startTime
      const [, ticks] = String(await startTime(process.pid)).split(':')
      mkdirSync(turn())
      const names = [
        `${process.pid}:00000000:${ticks}`,
        `${process.pid}:${await startTime(parent.pid as number)}`,
        `${zombie}:${await startTime(zombie)}`,
      ]
      writeFileSync(join(turn(), 'pids'), names.join(' '))
      expect(await setup()).toMatchObject({ status: 0, calls: ['ci'] })
    },
  )

  it('does not wait for what another user has put there who cannot install here, and says where it cannot be removed', async () => {
    mkdirSync(turn())
    writeFileSync(join(turn(), 'pids'), `${process.pid}`)
    // Whatever the umask: a clone that is the group's is installed by others, too.
    chmodSync(clone, 0o755)
    const preload = (more: string) => `
      const fs = require('node:fs')
      const { lstatSync, rmSync } = fs
      const isTurn = (path) => String(path).includes('coppice-setup-')
      const uid = process.getuid() + 4711
      fs.lstatSync = (path, ...rest) => Object.assign(lstatSync(path, ...rest), isTurn(path) && { uid })
      ${more}
      require('node:module').syncBuiltinESMExports()`
    const held = preload(`fs.rmSync = (path, ...rest) => {
      if (isTurn(path)) throw new Error('EPERM: operation not permitted')
      return rmSync(path, ...rest)
    }`)
    const refused = await setup({ preload: held })
    expect(refused).toMatchObject({ status: 1, calls: [] })
    expect(refused.said).toContain(`${turn()}, which would say so, cannot be removed: EPERM`)
    expect(refused.said).toContain('export TMPDIR=')
    expect(await setup({ preload: preload('') })).toMatchObject({ status: 0, calls: ['ci'] })
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
