/**
 * Installs what is missing, before anything else runs. Needs only Node 18 and npm, and no package (DESIGN D0): every
 * npm script calls it first. When all is in place it says nothing and takes some 10 ms.
 *
 * What is installed is compared entry by entry with package-lock.json, by the list that npm itself leaves in
 * node_modules, so that an `npm install` by hand counts as well and an interrupted one does not.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const OLDEST_NODE = 18
const OURS = 24
const root = fileURLToPath(new URL('..', import.meta.url))
const ownNode = join(root, 'node_modules', 'node', 'bin', 'node')
const nodeLink = join(root, 'node_modules', '.bin', 'node')

main()

function main() {
  if (major(process.versions.node) < OLDEST_NODE) {
    fail(`This is Node ${process.versions.node}; Coppice needs Node ${OLDEST_NODE} or newer to set itself up.`)
  }
  if (process.platform === 'win32') fail('Coppice runs on Linux and macOS. On Windows, use it inside WSL2.')
  if (installed()) return
  const release = takeTurn()
  try {
    // Whoever had the turn before may have done it all.
    if (!installed()) install()
  } finally {
    release()
  }
}

function installed() {
  return missingPackages().length === 0 && runtimeWorks()
}

/** Names of packages that package-lock.json wants and node_modules has not, or has in another version. */
function missingPackages() {
  const wanted = packagesOf(join(root, 'package-lock.json'))
  const present = packagesOf(join(root, 'node_modules', '.package-lock.json'))
  return Object.keys(wanted).filter((path) => {
    if (path === '') return false
    const found = present[path]
    // Optional ones of other platforms are not there, and need not be.
    if (found === undefined) return wanted[path].optional !== true
    return found.version !== wanted[path].version
  })
}

function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages ?? {}
  } catch {
    return {}
  }
}

/** Whether `node` in npm scripts is the pinned one: node_modules/.bin comes first on their PATH. */
function runtimeWorks() {
  // The pinned build does not run everywhere (musl); a Node of the machine that is new enough does as well.
  if (!existsSync(nodeLink)) return major(process.versions.node) >= OURS
  if (realpathSync(process.execPath) === realpathSync(nodeLink)) return true
  const answer = spawnSync(nodeLink, ['--version'], { encoding: 'utf8' })
  return answer.status === 0 && major(answer.stdout) === OURS
}

function install() {
  say(existsSync(join(root, 'node_modules')) ? 'Updating packages …' : 'Installing packages (once, about a minute) …')
  const started = Date.now()
  // The pinned Node brings its own version, so packages that ask for a newer one than npm's are no concern.
  const flags = ['--include=dev', '--include=optional', '--engine-strict=false', '--no-audit', '--no-fund']
  const result = npm(['ci', ...flags, '--loglevel=error'])
  if (result.status !== 0) {
    fail(
      `npm could not install the packages (its messages are above).\n` +
        `  Behind a proxy:   export HTTPS_PROXY=http://proxy:port\n` +
        `  Another registry: npm config set registry https://…\n` +
        `  Then run the same command again; "npm ci" alone shows everything npm has to say.`,
    )
  }
  if (!runtimeWorks()) installRuntime()
  bundleWorkflows()
  say(`Packages are in place (${Math.round((Date.now() - started) / 1000)} s).`)
}

/** The first start would spend more than a second on it. If it cannot be done now, that start does it. */
function bundleWorkflows() {
  const script = join(root, 'worker', 'bundle.ts')
  if (existsSync(script)) spawnSync(existsSync(nodeLink) ? nodeLink : process.execPath, [script], { stdio: 'ignore' })
}

/** Where a policy forbids install scripts (`ignore-scripts`), the one of the package `node` is run here instead. */
function installRuntime() {
  const folder = join(root, 'node_modules', 'node')
  spawnSync(npmNode(), [join(folder, 'installArchSpecificPackage.js')], { cwd: folder, stdio: ['ignore', 'ignore', 2] })
  rmSync(nodeLink, { force: true })
  // npm links only what is there when it installs.
  if (existsSync(ownNode)) symlinkSync(join('..', 'node', 'bin', 'node'), nodeLink)
  if (runtimeWorks()) return
  // A link to a program that does not run here would hide the machine's own.
  rmSync(nodeLink, { force: true })
  if (runtimeWorks()) return
  fail(
    `The pinned Node ${OURS} does not run here, and this machine's own is ${process.versions.node}.\n` +
      `  Install Node ${OURS} (https://nodejs.org) and run the same command again.`,
  )
}

function npm(args) {
  const cli = process.env.npm_execpath
  const stdio = { cwd: root, stdio: ['ignore', 2, 2] }
  // yarn and pnpm set npm_execpath too, and read no package-lock.json.
  if (cli !== undefined && basename(cli) === 'npm-cli.js') return spawnSync(npmNode(), [cli, ...args], stdio)
  const result = spawnSync('npm', args, stdio)
  if (result.error?.code === 'ENOENT') fail('npm is not on the PATH. It comes with Node: https://nodejs.org')
  return result
}

/** Not the one in node_modules, which `npm ci` removes while it runs. */
function npmNode() {
  const named = process.env.npm_node_execpath
  return named !== undefined && existsSync(named) ? named : process.execPath
}

/** `npm start` and `npm test` at once in a fresh clone: one installs, the other waits. */
function takeTurn() {
  const key = createHash('sha256').update(root).digest('hex').slice(0, 16)
  const folder = join(tmpdir(), `coppice-setup-${key}`)
  for (let told = false; ; ) {
    try {
      mkdirSync(folder)
      writeFileSync(join(folder, 'pid'), String(process.pid))
      const release = () => rmSync(folder, { recursive: true, force: true })
      process.once('exit', release)
      return release
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    if (!holderLives(folder)) {
      rmSync(folder, { recursive: true, force: true })
      continue
    }
    if (!told) say('Another process is installing the packages; waiting for it …')
    told = true
    pause(500)
  }
}

function holderLives(folder) {
  let pid = Number.NaN
  for (let attempt = 0; attempt < 5 && Number.isNaN(pid); attempt++) {
    try {
      pid = Number.parseInt(readFileSync(join(folder, 'pid'), 'utf8'), 10)
    } catch {
      // Between its mkdir and its write.
    }
    if (Number.isNaN(pid)) pause(100)
  }
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

function pause(ms) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

function major(version) {
  return Number.parseInt(version.replace(/^v/, ''), 10)
}

function say(words) {
  process.stderr.write(`${words}\n`)
}

function fail(words) {
  say(words)
  process.exit(1)
}
