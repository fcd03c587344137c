/**
 * Installs what is missing, before anything else runs. Needs only Node 18 and npm, and no package (DESIGN D0): every
 * npm script calls it first. When all is in place it says nothing and takes some 10 ms.
 *
 * What is installed is compared entry by entry with package-lock.json, by the list that npm itself leaves in
 * node_modules, so that an `npm install` by hand counts as well and an interrupted one does not.
 *
 * npm leaves out optional packages that ask for another Node than the one it runs on, and most programs with native
 * code come as such packages. So npm installs them under the Node that will run them: the pinned one, which is fetched
 * first, alone, and kept for the other clones of this user.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { homedir, constants as osConstants, tmpdir } from 'node:os'
import { basename, delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const OLDEST_NODE = 18
const OURS = 24
const OLD_DRAFT_MS = 3_600_000
const SETTLE_MS = 50
const root = fileURLToPath(new URL('..', import.meta.url))
const ownNode = join(root, 'node_modules', 'node', 'bin', 'node')
const nodeLink = join(root, 'node_modules', '.bin', 'node')

/** npm while it runs: what a signal has to end too, and who else may not begin. */
let running = null

await main()

async function main() {
  if (major(process.versions.node) < OLDEST_NODE) {
    fail(`This is Node ${process.versions.node}; Coppice needs Node ${OLDEST_NODE} or newer to set itself up.`)
  }
  if (process.platform === 'win32') fail('Coppice runs on Linux and macOS. On Windows, use it inside WSL2.')
  if (installed()) return
  const turn = await takeTurn()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => interrupt(signal))
  // Whoever had the turn before may have done it all.
  if (!installed()) await install(turn)
}

/** What npm has half done is done again by the next set-up, which must not meet this npm at work. */
function interrupt(signal) {
  const leave = () => process.exit(128 + osConstants.signals[signal])
  if (running === null) leave()
  running.once('exit', leave)
  process.kill(-running.pid, signal)
}

function installed() {
  return missingPackages().length === 0 && runtimeWorks()
}

/** Names of packages that package-lock.json wants here and node_modules has not, or has in another version. */
function missingPackages() {
  const wanted = packagesOf(join(root, 'package-lock.json'))
  const present = packagesOf(join(root, 'node_modules', '.package-lock.json'))
  const builds = new Set(Object.keys(present).map(withoutLibc))
  return Object.keys(wanted).filter((path) => {
    if (path === '') return false
    const found = present[path]
    if (found !== undefined) return found.version !== wanted[path].version
    return wanted[path].optional !== true || (isOfThisPlatform(wanted[path]) && !builds.has(withoutLibc(path)))
  })
}

/** Native builds are optional packages that name their platform; what is optional otherwise may be left out. */
function isOfThisPlatform({ os, cpu }) {
  return (os ?? cpu) !== undefined && fits(os, process.platform) && fits(cpu, process.arch)
}

function fits(list, value) {
  if (list === undefined) return true
  return list.includes(value) || (list.every((entry) => entry.startsWith('!')) && !list.includes(`!${value}`))
}

/** Of the builds for this and for another C library npm installs one. */
function withoutLibc(path) {
  return path.replace(/-(gnu|musl)$/, '')
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
  return isOurs(nodeLink)
}

async function install(turn) {
  say(existsSync(join(root, 'node_modules')) ? 'Updating packages …' : 'Installing packages (once, about a minute) …')
  const started = Date.now()
  const node = major(process.versions.node) >= OURS ? process.execPath : await pinnedNode(turn)
  // The pinned Node brings its own version, so packages that ask for a newer one than npm's are no concern.
  const flags = ['--include=dev', '--include=optional', '--engine-strict=false', '--no-audit', '--no-fund']
  if ((await npm(['ci', ...flags, '--loglevel=error'], { cwd: root, node, turn })) !== 0) failAsNpm()
  if (!runtimeWorks()) await linkRuntime(turn)
  const missing = missingPackages()
  if (missing.length > 0) {
    fail(
      `npm has left out what this platform needs: ${missing.map((path) => path.replace('node_modules/', '')).join(', ')}.\n` +
        `  Has the registry got it? "npm config get registry" names it. Then run the same command again.`,
    )
  }
  bundleWorkflows()
  say(`Packages are in place (${Math.round((Date.now() - started) / 1000)} s).`)
}

/** The first start would spend more than a second on it. If it cannot be done now, that start does it. */
function bundleWorkflows() {
  const script = join(root, 'worker', 'bundle.ts')
  if (existsSync(script)) spawnSync(existsSync(nodeLink) ? nodeLink : process.execPath, [script], { stdio: 'ignore' })
}

/**
 * The Node of package-lock.json, out of the reach of `npm ci`, which removes node_modules while it runs. It is filled
 * aside and renamed, so that one that is there is whole; of two set-ups at once the second takes the first one's.
 */
async function pinnedNode(turn) {
  const { version } = packagesOf(join(root, 'package-lock.json'))['node_modules/node']
  const tools = join(cacheFolder(), 'tools')
  const folder = join(tools, `node-${version}-${process.platform}-${process.arch}`)
  const node = join(folder, 'node_modules', 'node', 'bin', 'node')
  if (existsSync(node) && isOurs(node)) return node
  const draft = `${folder}.draft-${process.pid}`
  process.once('exit', () => rmSync(draft, { recursive: true, force: true }))
  try {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(draft, { recursive: true })
  } catch (error) {
    fail(`The pinned Node cannot be kept in ${tools}: ${error.message}.\n  Name another folder: export COPPICE_CACHE=…`)
  }
  removeOldDrafts(tools, `${basename(folder)}.draft-`)
  writeFileSync(join(draft, 'package.json'), '{"private":true,"allowScripts":{"node":true}}\n')
  // Where a clone names its registry.
  if (existsSync(join(root, '.npmrc'))) copyFileSync(join(root, '.npmrc'), join(draft, '.npmrc'))
  const flags = [
    '--no-save',
    '--no-package-lock',
    '--prefer-offline',
    '--engine-strict=false',
    '--no-audit',
    '--no-fund',
  ]
  const place = { cwd: draft, node: process.execPath, turn }
  if ((await npm(['install', `node@${version}`, ...flags, '--loglevel=error'], place)) !== 0) failAsNpm()
  const made = join(draft, 'node_modules', 'node')
  if (!existsSync(join(made, 'bin', 'node'))) await runInstallScript(made, turn)
  if (!isOurs(join(made, 'bin', 'node'))) failForRuntime()
  try {
    renameSync(draft, folder)
  } catch (error) {
    // Another one was faster.
    if (!existsSync(node)) throw error
  }
  return node
}

/** As in scripts/toolchain/cache.ts, which needs packages. */
function cacheFolder() {
  const { COPPICE_CACHE, XDG_CACHE_HOME } = process.env
  return COPPICE_CACHE ?? join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'coppice')
}

/** What a set-up left that was killed. */
function removeOldDrafts(folder, prefix) {
  if (!existsSync(folder)) return
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(prefix)) continue
    const path = join(folder, name)
    if (Date.now() - statSync(path).mtimeMs > OLD_DRAFT_MS) rmSync(path, { recursive: true, force: true })
  }
}

function isOurs(node) {
  const answer = spawnSync(node, ['--version'], { encoding: 'utf8' })
  return answer.status === 0 && major(answer.stdout) === OURS
}

/** Where a policy forbids install scripts (`ignore-scripts`), the one of the package `node` is run here instead. */
async function linkRuntime(turn) {
  await runInstallScript(join(root, 'node_modules', 'node'), turn)
  rmSync(nodeLink, { force: true })
  // npm links only what is there when it installs.
  if (existsSync(ownNode)) symlinkSync(join('..', 'node', 'bin', 'node'), nodeLink)
  if (runtimeWorks()) return
  // A link to a program that does not run here would hide the machine's own.
  rmSync(nodeLink, { force: true })
  if (!runtimeWorks()) failForRuntime()
}

function runInstallScript(folder, turn) {
  const node = npmNode()
  return run(node, [join(folder, 'installArchSpecificPackage.js')], { cwd: folder, node, turn })
}

/** Runs npm on the Node that is named; its exit code. */
async function npm(args, place) {
  const cli = npmCli()
  if (cli !== null) return run(place.node === process.execPath ? npmNode() : place.node, [cli, ...args], place)
  // A program that is found by whatever starts `npm` here finds the right Node first on its PATH.
  return run('npm', args, place)
}

/** npm's own program; null where what is called npm only starts it (version managers). */
function npmCli() {
  const named = process.env.npm_execpath
  // yarn and pnpm set npm_execpath too, and read no package-lock.json.
  if (named !== undefined && basename(named) === 'npm-cli.js') return named
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    try {
      const file = realpathSync(join(folder, 'npm'))
      accessSync(file, constants.X_OK)
      return basename(file) === 'npm-cli.js' ? file : null
    } catch {
      // Not in this folder.
    }
  }
  return null
}

/** Not the one in node_modules, which `npm ci` removes while it runs. */
function npmNode() {
  const named = process.env.npm_node_execpath
  return named !== undefined && existsSync(named) ? named : process.execPath
}

/** Its exit code. What it starts finds the same Node first. */
function run(program, args, { cwd, node, turn }) {
  const PATH = [dirname(node), process.env.PATH].join(delimiter)
  // A group of its own: npm starts scripts that start npm, and a signal has to end all of them.
  running = spawn(program, args, { cwd, stdio: ['ignore', 2, 2], env: { ...process.env, PATH }, detached: true })
  if (running.pid !== undefined) turn.handTo(running.pid)
  return new Promise((resolve) => {
    running.once('error', (error) => {
      if (error.code === 'ENOENT') fail('npm is not on the PATH. It comes with Node: https://nodejs.org')
      fail(`${program} could not be started: ${error.message}`)
    })
    running.once('exit', (code) => {
      running = null
      resolve(code ?? 1)
    })
  })
}

function failAsNpm() {
  fail(
    `npm could not install the packages (its messages are above).\n` +
      `  Behind a proxy:   export HTTPS_PROXY=http://proxy:port\n` +
      `  Another registry: npm config set registry https://…\n` +
      `  Then run the same command again; "npm ci" alone shows everything npm has to say.`,
  )
}

function failForRuntime() {
  fail(
    `The pinned Node ${OURS} does not run here, and this machine's own is ${process.versions.node}.\n` +
      `  Install Node ${OURS} (https://nodejs.org) and run the same command again.`,
  )
}

/** `npm start` and `npm test` at once in a fresh clone: one installs, the other waits. */
async function takeTurn() {
  const key = createHash('sha256').update(root).digest('hex').slice(0, 16)
  const folder = join(tmpdir(), `coppice-setup-${key}`)
  const file = join(folder, 'pids')
  for (let told = false; ; ) {
    try {
      mkdirSync(folder, { mode: 0o755 })
      writeFileSync(file, nameOf(process.pid))
      // Two that found the same holder dead may both have come this far; the folder is the later one's.
      await pause(SETTLE_MS)
      if (holdersIn(file)[0] === nameOf(process.pid)) return turnAt(folder, file)
    } catch (error) {
      if (error.code !== 'EEXIST' && error.code !== 'ENOENT') throw error
    }
    const holder = mayInstall(folder) ? await livingHolder(file) : null
    if (holder === null) {
      remove(folder)
      continue
    }
    if (!told) {
      const [pid] = holder.split(':')
      say(
        `Another process (pid ${pid}) is installing the packages; waiting for it …\n` +
          `  If it hangs, end it: kill ${pid}. If it is no installation, remove ${folder}`,
      )
    }
    told = true
    await pause(500)
  }
}

function turnAt(folder, file) {
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  // An npm whose set-up was killed goes on, and nobody else may begin until it has ended.
  return { handTo: (pid) => writeFileSync(file, [nameOf(process.pid), nameOf(pid)].join(' ').trim()) }
}

/** The folder for temporary files is everybody's; who cannot write into the clone installs nothing there. */
function mayInstall(folder) {
  if (process.getuid === undefined) return true
  const found = lstatSync(folder, { throwIfNoEntry: false })
  const clone = statSync(root)
  return found === undefined || [process.getuid(), 0, clone.uid].includes(found.uid) || (clone.mode & 0o022) !== 0
}

function remove(folder) {
  try {
    rmSync(folder, { recursive: true, force: true })
  } catch (error) {
    fail(
      `Nobody is installing the packages, but ${folder}, which would say so, cannot be removed: ${error.message}\n` +
        `  Remove it as its owner, or name another folder for temporary files: export TMPDIR=…`,
    )
  }
}

function holdersIn(file) {
  try {
    return readFileSync(file, 'utf8').split(' ')
  } catch {
    return []
  }
}

async function livingHolder(file) {
  // Nothing is in it between its mkdir and its write.
  for (let attempt = 0; attempt < 5 && holdersIn(file).join('') === ''; attempt++) await pause(100)
  return holdersIn(file).find(isAlive) ?? null
}

/**
 * A pid names nobody for long: a container that is started again gives the same ones to others, and the files of the one
 * before are still there. So pid, boot and start time; where the system does not tell these (macOS), the pid. Empty for
 * a process that has ended, whether or not somebody has taken note of it.
 */
function nameOf(pid) {
  if (!existsSync('/proc/self/stat')) return `${pid}`
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // proc(5): the second field is the name in brackets, and may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return ['Z', 'X'].includes(fields[0]) ? '' : `${pid}:${bootId()}:${fields[19]}`
  } catch {
    return ''
  }
}

/** Empty where /proc is not the kernel's own (gVisor has none of it). */
function bootId() {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8)
  } catch {
    return ''
  }
}

/** Whoever asks does not hold what he asks for, even if the one that did had his pid. */
function isAlive(holder) {
  const pid = Number.parseInt(holder, 10)
  if (!(pid > 0) || pid === process.pid) return false
  if (holder.includes(':')) return nameOf(pid) === holder
  // Written where the system tells no more, or by an older version.
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
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
