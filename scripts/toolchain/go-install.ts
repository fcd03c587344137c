import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { unzip } from './archive.ts'
import { fillOnce, toolFolder } from './cache.ts'
import { downloadFile } from './download.ts'
import type { OnProgress } from './tools.ts'
import { askVersion, compareVersions } from './version.ts'

/** The oldest go that fetches by itself the newer one that a module asks for (GOTOOLCHAIN, go.dev/doc/toolchain). */
const OLDEST_GO = '1.21.0'
const GO_VERSION = '1.26.8'
/** Of the zip files as the module proxy has them, which every go verifies against sum.golang.org. */
const GO_SHA256: Record<string, string> = {
  'linux-amd64': '30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7',
  'linux-arm64': '02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99',
  'darwin-amd64': 'fe99a2009e5bb51e06d7784f1a486478673512041c2671157bd382806e2aedcf',
  'darwin-arm64': '0aad5fb52b88498885290178adc0bcfe429bc63012621af9f83282eb640bd9c7',
}

export type GoInstall = {
  module: string
  version: string
  /** Folder the program is put into. */
  folder: string
  cache: string
  env: NodeJS.ProcessEnv
  onProgress: OnProgress
}

/** Builds a program from its source by way of the Go module proxy, which verifies it against sum.golang.org. */
export async function goInstall(options: GoInstall): Promise<void> {
  const own = await machineGo(options.env)
  const go = own ?? (await proxyGo(options))
  const work = `${options.folder}.work`
  // Where Go is ours, its caches (3 GB after one build) are nobody's; on a machine with Go they are its user's.
  const places = own === null ? { GOPATH: work, GOCACHE: join(work, 'cache'), GOFLAGS: '-modcacherw' } : {}
  try {
    await build(go, options, places)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

async function build(go: string, options: GoInstall, places: NodeJS.ProcessEnv): Promise<void> {
  const words = `building ${options.module}@${options.version} from source (two to five minutes)`
  options.onProgress(words)
  // -s -w: without symbols, two thirds of the size. -v names each package as it is compiled.
  const args = ['install', '-v', '-trimpath', '-ldflags=-s -w', `${options.module}@v${options.version}`]
  const child = spawn(go, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...options.env, ...places, GOBIN: options.folder, GOOS: '', GOARCH: '', CGO_ENABLED: '0' },
  })
  // Without a descriptor for it there is no process, and it has no streams.
  await once(child, 'spawn')
  const last: string[] = []
  let packages = 0
  let told = Date.now()
  for await (const line of createInterface({ input: child.stderr })) {
    last.push(line)
    if (last.length > 8) last.shift()
    if (/^\S+$/.test(line)) packages++
    if (Date.now() - told > 1_000) {
      told = Date.now()
      options.onProgress(words, packages > 0 ? `${packages} packages compiled` : 'fetching the source')
    }
  }
  const code = child.exitCode ?? (await new Promise<number | null>((resolve) => child.once('close', resolve)))
  if (code !== 0) throw new Error(`go install ended with ${code}: ${last.join(' | ')}`)
}

async function machineGo(env: NodeJS.ProcessEnv): Promise<string | null> {
  try {
    const version = /go(\d+\.\d+(?:\.\d+)?)/.exec(await askVersion('go', ['version'], env))?.[1]
    return version !== undefined && compareVersions(version, OLDEST_GO) >= 0 ? 'go' : null
  } catch {
    return null
  }
}

/** A module proxy carries Go itself too: with it a machine needs nothing but package registries. */
async function proxyGo({ cache, env, onProgress }: GoInstall): Promise<string> {
  const name = `${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}`
  const sha256 = GO_SHA256[name]
  if (sha256 === undefined) throw new Error(`there is no go on the PATH, and none to fetch for ${name}`)
  const folder = toolFolder(cache, 'go', GO_VERSION)
  await fillOnce(folder, async (draft) => {
    const words = `fetching Go ${GO_VERSION}, to build it with`
    onProgress(words)
    const version = `v0.0.1-go${GO_VERSION}.${name}`
    const zip = join(draft, 'go.zip')
    await downloadFile({
      url: `${goProxy(env)}/golang.org/toolchain/@v/${version}.zip`,
      file: zip,
      sha256,
      env,
      onDetail: (detail) => onProgress(words, detail),
    })
    const prefix = `golang.org/toolchain@${version}/`
    await unzip(zip, draft, (entry) => (entry.startsWith(prefix) ? entry.slice(prefix.length) : null))
    // Module zips carry no modes.
    for (const place of ['bin', join('pkg', 'tool')]) await makeExecutable(join(draft, place))
    await rm(zip)
  })
  return join(folder, 'bin', 'go')
}

async function makeExecutable(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) await chmod(join(entry.parentPath, entry.name), 0o755)
  }
}

/** Without a Go there is nobody to ask for the default one, so GOPROXY has to name it. */
function goProxy(env: NodeJS.ProcessEnv): string {
  const first = (env.GOPROXY ?? '').split(/[,|]/).find((entry) => entry.startsWith('http'))
  if (first === undefined)
    throw new Error('there is no go on the PATH, and GOPROXY names no module proxy to fetch it from')
  return first.replace(/\/+$/, '')
}
