import { chmod, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { unzip } from './archive.ts'
import { downloadFile, downloadText } from './download.ts'
import type { OnProgress } from './tools.ts'
import { askVersion, compareVersions } from './version.ts'

export type Wheel = { filename: string; url: string; sha256: string | null }

export type PypiInstall = {
  project: string
  version: string
  /** Taken when the index has not that version: the newest that is at least this. */
  oldest: string
  program: string
  folder: string
  env: NodeJS.ProcessEnv
  onProgress: OnProgress
}

/** Takes a program out of its wheel; neither Python nor pip is needed for it. */
export async function pypiInstall(options: PypiInstall): Promise<void> {
  const wheel = chooseWheel(await listWheels(options.project, options.env), options, wheelTags())
  if (wheel === null)
    throw new Error(`the package index has no ${options.project} for ${process.platform} ${process.arch}`)
  const words = `fetching ${wheel.filename}`
  options.onProgress(words)
  const file = join(options.folder, 'wheel.zip')
  await downloadFile({
    url: wheel.url,
    file,
    sha256: wheel.sha256,
    env: options.env,
    onDetail: (detail) => options.onProgress(words, detail),
  })
  const suffix = `.data/scripts/${options.program}`
  const found = await unzip(file, options.folder, (name) => (name.endsWith(suffix) ? options.program : null))
  if (found === 0) throw new Error(`${wheel.filename} holds no ${options.program}`)
  await chmod(join(options.folder, options.program), 0o755)
  await rm(file)
}

async function listWheels(project: string, env: NodeJS.ProcessEnv): Promise<Wheel[]> {
  const tried: string[] = []
  for (const index of await indexes(env)) {
    try {
      const accept = 'application/vnd.pypi.simple.v1+json, text/html;q=0.2'
      const answer = await downloadText(`${index.replace(/\/+$/, '')}/${project}/`, env, { accept })
      return answer.type.includes('json') ? parseJson(answer.text, answer.url) : parseHtml(answer.text, answer.url)
    } catch (error) {
      tried.push((error as Error).message)
    }
  }
  throw new Error(tried.join('; '))
}

/** As pip and uv are told: their variables, then pip's files, then what pip takes when nothing is told. */
async function indexes(env: NodeJS.ProcessEnv): Promise<string[]> {
  const named = [env.UV_DEFAULT_INDEX, env.UV_INDEX_URL, env.PIP_INDEX_URL, await pipSetting('global.index-url', env)]
  const extra = [env.PIP_EXTRA_INDEX_URL, await pipSetting('global.extra-index-url', env)]
  const first = named.find((url) => url !== undefined && url !== '') ?? (await pipDefault(env))
  if (first === undefined) throw new Error('no package index is named (PIP_INDEX_URL), and there is no pip to ask')
  return [first, ...extra.flatMap((urls) => (urls ?? '').split(/\s+/))].filter((url) => url.startsWith('http'))
}

async function pipDefault(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const ask = 'from pip._internal.models.index import PyPI; print(PyPI.simple_url)'
  for (const python of ['python3', 'python']) {
    const value = await askVersion(python, ['-c', ask], env).catch(() => '')
    if (value.startsWith('http')) return value.trim()
  }
  return undefined
}

async function pipSetting(name: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const pip of ['pip', 'pip3']) {
    const value = await askVersion(pip, ['config', 'get', name], env).catch(() => '')
    if (value.startsWith('http')) return value.trim()
  }
  return undefined
}

/** PEP 691. */
export function parseJson(text: string, base: string): Wheel[] {
  const { files } = JSON.parse(text) as { files: { filename: string; url: string; hashes?: { sha256?: string } }[] }
  return files.map((file) => ({
    filename: file.filename,
    url: new URL(file.url, base).href,
    sha256: file.hashes?.sha256 ?? null,
  }))
}

/** PEP 503: anchors whose address ends in `#sha256=…`. */
export function parseHtml(text: string, base: string): Wheel[] {
  return [...text.matchAll(/<a\s[^>]*href="([^"]+)"[^>]*>([^<]+)<\/a>/g)].map(([, href = '', name = '']) => {
    const url = new URL(href.replaceAll('&amp;', '&'), base)
    const sha256 = /sha256=([0-9a-f]{64})/.exec(url.hash)?.[1] ?? null
    url.hash = ''
    return { filename: name.trim(), url: url.href, sha256 }
  })
}

/** The wanted version, else the newest that does; only where the index vouches for the content. */
export function chooseWheel(
  wheels: Wheel[],
  wanted: { project: string; version: string; oldest: string },
  tags: string[],
): Wheel | null {
  const pattern = new RegExp(`^${wanted.project}-(\\d+\\.\\d+\\.\\d+)-py3-none-(.+)\\.whl$`)
  const fitting = wheels.flatMap((wheel) => {
    const [, version, platforms] = pattern.exec(wheel.filename) ?? []
    if (version === undefined || platforms === undefined || wheel.sha256 === null) return []
    if (compareVersions(version, wanted.oldest) < 0) return []
    const rank = tags.findIndex((tag) => platforms.split('.').includes(tag))
    return rank < 0 ? [] : [{ wheel, version, rank }]
  })
  const preferred = (version: string) => (version === wanted.version ? 0 : 1)
  fitting.sort(
    (a, b) => preferred(a.version) - preferred(b.version) || compareVersions(b.version, a.version) || a.rank - b.rank,
  )
  return fitting[0]?.wheel ?? null
}

/** Platform tags that run here, best first. */
export function wheelTags(platform = process.platform, arch = process.arch, glibc = usesGlibc()): string[] {
  const cpu = arch === 'x64' ? 'x86_64' : 'aarch64'
  if (platform === 'darwin') return arch === 'arm64' ? ['macosx_11_0_arm64'] : ['macosx_10_12_x86_64']
  const musl = [`musllinux_1_1_${cpu}`]
  const gnu = [`manylinux_2_17_${cpu}`, `manylinux2014_${cpu}`, `manylinux_2_28_${cpu}`]
  return glibc ? [...gnu, ...musl] : musl
}

function usesGlibc(): boolean {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined
  return report?.header?.glibcVersionRuntime !== undefined
}
