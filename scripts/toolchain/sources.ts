import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { untarGz, unzip } from './archive.ts'
import { downloadFile, downloadText } from './download.ts'
import { goInstall } from './go-install.ts'
import { pypiInstall } from './pypi.ts'
import type { OnProgress, Platform, ReleaseAsset, Source, Tool } from './tools.ts'

const run = promisify(execFile)

export type Fetch = {
  /** Where the program goes. */
  folder: string
  cache: string
  env: NodeJS.ProcessEnv
  say: OnProgress
}

/** Whether a source makes sense on this machine at all; what does not is not worth a line in the error. */
export function sourceFits(source: Source): boolean {
  if (source.kind === 'apt') return process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')
  if (source.kind === 'release') return platform() !== null
  return true
}

/** Fetches a tool from one source and returns its path. Throws with one sentence. */
export async function fetchTool(tool: Tool, source: Source, options: Fetch): Promise<string> {
  switch (source.kind) {
    case 'release': {
      const here = platform()
      const asset = here === null ? null : source.asset(here)
      if (asset === null) throw new Error(`there is none for ${process.platform} ${process.arch}`)
      return fromRelease(asset, options)
    }
    case 'goInstall':
      await goInstall({
        ...source,
        folder: options.folder,
        cache: options.cache,
        env: options.env,
        onProgress: options.say,
      })
      return join(options.folder, source.program)
    case 'pypi':
      await pypiInstall({ ...source, folder: options.folder, env: options.env, onProgress: options.say })
      return join(options.folder, source.program)
    case 'apt':
      return fromApt(tool, source.packages, options)
    case 'playwright':
      return fromPlaywright(options)
  }
}

async function fromRelease(asset: ReleaseAsset, options: Fetch): Promise<string> {
  const name = basename(asset.url)
  const words = `downloading ${name}`
  options.say(words)
  const sha256 =
    'sha256' in asset.checksum ? asset.checksum.sha256 : await listedChecksum(asset.checksum.list, name, options.env)
  const archive = join(options.folder, name)
  await downloadFile({
    url: asset.url,
    file: archive,
    sha256,
    env: options.env,
    onDetail: (detail) => options.say(words, detail),
  })
  const unpack = name.endsWith('.zip') ? unzip : untarGz
  const wanted = (entry: string) => (basename(entry) === asset.program ? asset.program : null)
  if ((await unpack(archive, options.folder, wanted)) === 0) throw new Error(`${name} holds no ${asset.program}`)
  await rm(archive)
  return join(options.folder, asset.program)
}

/** Vouches against damage on the way; that the release is the publisher's own is the word of its TLS certificate. */
async function listedChecksum(url: string, name: string, env: NodeJS.ProcessEnv): Promise<string> {
  const { text } = await downloadText(url, env)
  const line = text.split('\n').find((entry) => entry.trim().endsWith(name))
  const sha256 = /^[0-9a-f]{64}/.exec(line ?? '')?.[0]
  if (sha256 === undefined) throw new Error(`${url} names no checksum of ${name}`)
  return sha256
}

async function fromApt(tool: Tool, packages: string[], options: Fetch): Promise<string> {
  options.say(`installing ${packages.join(', ')} with apt-get`)
  const env = { ...options.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (args: string[]) => run('apt-get', ['-q', '-y', ...args], { env, maxBuffer: 1 << 26 })
  const install = ['install', '--no-install-recommends', ...packages]
  // The lists may be older than the packages they name.
  await apt(install).catch(async () => {
    await apt(['update'])
    await apt(install)
  })
  const found = tool.programs.map((program) => `/usr/bin/${program}`).find((path) => existsSync(path))
  if (found === undefined) throw new Error(`${packages.join(', ')} brought none of ${tool.programs.join(', ')}`)
  return found
}

async function fromPlaywright(options: Fetch): Promise<string> {
  const { chromium } = await import('playwright-core')
  if (existsSync(chromium.executablePath())) return chromium.executablePath()
  options.say('downloading with playwright')
  const cli = join(import.meta.dirname, '..', '..', 'node_modules', 'playwright-core', 'cli.js')
  await run(process.execPath, [cli, 'install', 'chromium'], { maxBuffer: 1 << 26, timeout: 600_000, env: options.env })
  return chromium.executablePath()
}

function platform(): Platform | null {
  const { platform: os, arch: cpu } = process
  return (os === 'linux' || os === 'darwin') && (cpu === 'x64' || cpu === 'arm64') ? { os, cpu } : null
}
