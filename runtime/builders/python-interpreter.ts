import { readdirSync } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { CoppiceError } from '../../domain/errors.ts'
import { SYSTEM_PATH } from '../environment.ts'

/** The version that the platform promises to apps with a requirements.txt. */
export const PROMISED_PYTHON = '3.11'

export type Interpreter = {
  /** Absolute path. */
  path: string
  /** E.g. `3.11.7`. */
  version: string
  /** What compiled packages depend on, for keys: implementation, version, platform. */
  identity: string[]
}

/** Runs a program and returns its standard output; throws CoppiceError BuildFailed where it fails. */
export type Ask = (argv: readonly string[], name: string, env?: Record<string, string>) => Promise<string>

export type FindOptions = {
  uv: () => Promise<string>
  ask: Ask
  /** Environment of the worker: where else to look for interpreters. */
  env: Readonly<Record<string, string | undefined>>
}

export type Interpreters = ReturnType<typeof createInterpreters>

const IDENTIFY =
  'import sys, sysconfig; print(sys.version.split()[0], sys.implementation.cache_tag, sysconfig.get_platform())'

/**
 * Finds Pythons of this machine, and remembers them, because asking costs two processes; an interpreter that was
 * replaced meanwhile is asked again.
 */
export function createInterpreters() {
  const known = new Map<string, { interpreter: Interpreter; mtimeMs: number }>()

  /** `wanted` in order of preference, as uv reads them, e.g. `3.11` or `>=3.12`. Null where none is there. */
  async function find(wanted: readonly string[], options: FindOptions): Promise<Interpreter | null> {
    for (const request of wanted) {
      const found = (await remembered(request)) ?? (await search(request, options))
      if (found !== null) return found
    }
    return null
  }

  async function remembered(request: string): Promise<Interpreter | null> {
    const entry = known.get(request)
    if (entry === undefined) return null
    const stats = await stat(entry.interpreter.path).catch(() => null)
    return stats?.mtimeMs === entry.mtimeMs ? entry.interpreter : null
  }

  async function search(request: string, { uv, ask, env }: FindOptions): Promise<Interpreter | null> {
    const place = await ask(
      [await uv(), 'python', 'find', '--system', '--no-project', request],
      `uv python find ${request}`,
      {
        PATH: searchPath(env),
      },
    ).catch(isNotFound)
    if (place === null) return null
    const path = await realpath(place.trim())
    const [version = '', ...platform] = (await ask([path, '-I', '-c', IDENTIFY], `${path} --version`)).trim().split(' ')
    const interpreter = { path, version, identity: [path, version, ...platform] }
    known.set(request, { interpreter, mtimeMs: (await stat(path)).mtimeMs })
    return interpreter
  }

  return { find }
}

/** pyenv's shims answer for versions that are not there; what they stand for lies beside them. */
function searchPath(env: FindOptions['env']): string {
  const own = (env.PATH ?? '')
    .split(':')
    .filter((directory) => directory.startsWith('/') && !directory.endsWith('/shims'))
  const pyenv = join(env.PYENV_ROOT ?? join(env.HOME ?? '/', '.pyenv'), 'versions')
  return [...new Set([...own, ...SYSTEM_PATH, ...versionsIn(pyenv)])].join(':')
}

function versionsIn(directory: string): string[] {
  try {
    return readdirSync(directory)
      .sort()
      .map((version) => join(directory, version, 'bin'))
  } catch {
    return []
  }
}

/** uv says no with exit code 2 and a line; what it says besides is the aborted signal's or the machine's trouble. */
function isNotFound(error: unknown): null {
  if (error instanceof CoppiceError && error.code === 'BuildFailed') return null
  throw error
}
