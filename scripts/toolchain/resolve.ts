import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { CoppiceError } from '../../domain/errors.ts'
import { cacheFolder, fillOnce, toolFolder } from './cache.ts'
import { fetchTool, sourceFits } from './sources.ts'
import { type OnProgress, type Source, TOOLS, type Tool, type ToolName } from './tools.ts'
import { askVersion, inRange } from './version.ts'

export type { ToolName } from './tools.ts'

export type ResolvedTool = {
  path: string
  /** Of `temporal` the version of its server. */
  version: string
  from: 'variable' | 'path' | 'cache' | 'fetched'
}

export type ResolveOptions = {
  /** Called with what is being done, only when something takes time. */
  onProgress?: OnProgress
  env?: NodeJS.ProcessEnv
}

/**
 * Finds an outside tool, or fetches it (DESIGN D15): variable → PATH → cache → official download → package registry.
 * Safe to call from many processes at once. Throws CoppiceError ToolMissing that says what was tried and what to do.
 */
export async function resolveTool(name: ToolName, options: ResolveOptions = {}): Promise<ResolvedTool> {
  const tool = TOOLS[name]
  const env = options.env ?? process.env
  const tried: string[] = []
  const there = await installed(tool, env, tried)
  if (there !== null) return there
  for (const source of tool.sources.filter(sourceFits)) {
    try {
      const found = await fromSource(tool, source, env, options.onProgress)
      if (found !== null) return found
    } catch (error) {
      tried.push(`${describe(source)}: ${(error as Error).message}`)
    }
  }
  throw missing(tool, tried)
}

/**
 * What `resolveTool` would take without fetching anything; null where it would have to.
 *
 * @throws CoppiceError ToolMissing when the variable names what is none.
 */
export async function findTool(name: ToolName, env: NodeJS.ProcessEnv = process.env): Promise<ResolvedTool | null> {
  const tool = TOOLS[name]
  const there = await installed(tool, env, [])
  if (there !== null) return there
  for (const source of tool.sources.filter(sourceFits)) {
    const path = cachedAt(tool, source, env)
    const found = path === null || !existsSync(path) ? null : await probe(tool, path, env)
    if (path !== null && found !== null && 'version' in found) return { path, version: found.version, from: 'cache' }
  }
  return null
}

async function installed(tool: Tool, env: NodeJS.ProcessEnv, tried: string[]): Promise<ResolvedTool | null> {
  const named = env[tool.variable]
  if (named) {
    const found = await probe(tool, named, env)
    if ('version' in found) return { path: named, version: found.version, from: 'variable' }
    // Not passed over: whoever names one wants that one.
    throw new CoppiceError(
      'ToolMissing',
      `${tool.variable} names ${named}, but ${found.trouble}. Correct it or unset it`,
    )
  }
  for (const path of candidates(tool, env)) {
    const found = await probe(tool, path, env)
    if ('version' in found) return { path, version: found.version, from: 'path' }
    tried.push(`${path}: ${found.trouble}`)
  }
  return null
}

/** Where a fetched one lies or would lie; null for what is kept elsewhere. */
function cachedAt(tool: Tool, source: Source, env: NodeJS.ProcessEnv): string | null {
  if (source.kind === 'apt' || source.kind === 'playwright') return null
  const program = source.kind === 'release' ? tool.name : source.program
  return join(toolFolder(cacheFolder(env), tool.name, source.version), program)
}

async function fromSource(
  tool: Tool,
  source: Source,
  env: NodeJS.ProcessEnv,
  onProgress?: OnProgress,
): Promise<ResolvedTool | null> {
  const say: OnProgress = (words, detail) => onProgress?.(`${tool.name}: ${words}`, detail)
  const cache = cacheFolder(env)
  const path = cachedAt(tool, source, env)
  if (path === null) {
    const fetched = await fetchTool(tool, source, { folder: cache, cache, env, say })
    const found = await probe(tool, fetched, env)
    if ('trouble' in found) throw new Error(found.trouble)
    return { path: fetched, version: found.version, from: 'fetched' }
  }
  const folder = dirname(path)
  const from = existsSync(path) ? 'cache' : 'fetched'
  if (from === 'fetched') {
    await fillOnce(
      folder,
      async (draft) => {
        await fetchTool(tool, source, { folder: draft, cache, env, say })
      },
      () => say('another process is fetching it; waiting'),
    )
  }
  const found = await probe(tool, path, env)
  if ('trouble' in found) throw new Error(`${path}: ${found.trouble}; remove ${folder} to have it fetched again`)
  if (from === 'fetched') say(`${found.version} is in place`)
  return { path, version: found.version, from }
}

async function probe(
  tool: Tool,
  path: string,
  env: NodeJS.ProcessEnv,
): Promise<{ version: string } | { trouble: string }> {
  let text: string
  try {
    text = await askVersion(path, tool.versionArgs, env)
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string }
    return { trouble: code === 'ENOENT' ? 'there is no such program' : `it does not run (${message.split('\n')[0]})` }
  }
  const version = tool.versionPattern.exec(text)?.[1]
  if (version === undefined) return { trouble: `it does not say its version (“${text.trim().split('\n')[0]}”)` }
  const { oldest, tooNew } = tool.range
  if (!inRange(version, tool.range))
    return { trouble: `it is version ${version}, wanted is ${oldest} up to below ${tooNew}` }
  return { version }
}

/** Every program of that name that exists, in the order of PATH, then where installers put it outside PATH. */
function candidates(tool: Tool, env: NodeJS.ProcessEnv): string[] {
  const home = env.HOME ?? homedir()
  const goBins = [env.GOBIN, env.GOPATH && join(env.GOPATH.split(delimiter)[0] ?? '', 'bin')]
  const places = [...goBins.filter((place) => place !== undefined && place !== ''), ...tool.places] as string[]
  const files = places.filter((place) => place.startsWith('=')).map((place) => place.slice(1))
  const folders = [
    ...(env.PATH ?? '').split(delimiter),
    ...places.filter((place) => !place.startsWith('=')).map((place) => place.replace(/^~/, home)),
  ].filter((folder) => folder !== '')
  const inFolders = folders.flatMap((folder) => tool.programs.map((program) => join(folder, program)))
  return [...new Set([...inFolders, ...files])].filter((path) => existsSync(path))
}

function describe(source: Source): string {
  switch (source.kind) {
    case 'release':
      return 'official download'
    case 'goInstall':
      return `go install ${source.module}@v${source.version}`
    case 'pypi':
      return `wheel of ${source.project} from the Python package index`
    case 'apt':
      return `apt-get install ${source.packages.join(' ')}`
    case 'playwright':
      return 'download by playwright'
  }
}

function missing(tool: Tool, tried: string[]): CoppiceError {
  const list = tried.length > 0 ? `\nTried:\n${tried.map((line) => `  - ${line}`).join('\n')}` : ''
  return new CoppiceError(
    'ToolMissing',
    `${tool.name} is missing: ${tool.purpose}.${list}\nTo mend it, ${tool.byHand}, ` +
      `or name one that is there: export ${tool.variable}=/path/to/${tool.programs[0]}. ` +
      `Behind a proxy: export HTTPS_PROXY=http://proxy:port.`,
    { tool: tool.name, tried },
  )
}
