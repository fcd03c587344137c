/** Where the platform is and with which token one speaks to it: flag, else variable, else the data directory. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CoppiceError } from '../domain/errors.ts'
import { withoutTrailing } from '../domain/trailing.ts'

export type GlobalFlags = { home?: string; apiUrl?: string; token?: string; output?: 'text' | 'json' }

export type Settings = {
  /** The data directory: `--home`, COPPICE_HOME, else `.coppice` in the clone. */
  home: string
  /** `--api-url`, COPPICE_API_URL, else what runs on the data directory, else http://127.0.0.1:7400. */
  apiUrl: string
  /** `--token`, COPPICE_TOKEN, else the file `token` of the data directory; null when there is none. */
  token: string | null
}

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))

const DEFAULT_API_URL = 'http://127.0.0.1:7400'

/** @throws CoppiceError InvalidInput */
export function resolveSettings(flags: GlobalFlags, env: NodeJS.ProcessEnv): Settings {
  const home = resolve(flags.home ?? (env.COPPICE_HOME || join(ROOT, '.coppice')))
  const apiUrl = flags.apiUrl ?? (env.COPPICE_API_URL || runningApiUrl(home) || DEFAULT_API_URL)
  if (!URL.canParse(apiUrl) || !/^https?:$/.test(new URL(apiUrl).protocol))
    throw new CoppiceError('InvalidInput', `--api-url (COPPICE_API_URL): "${apiUrl}" is not an http URL`, {
      field: 'api-url',
    })
  return { home, apiUrl: withoutTrailing(apiUrl, '/'), token: flags.token ?? (env.COPPICE_TOKEN || readToken(home)) }
}

export const stateFile = (home: string): string => join(home, 'run', 'state.json')

/** Of `run/state.json`, which the starter writes, what the CLI needs. */
export type RunState = {
  starter: { pid: number }
  phase: string
  options: { port: number; apiPort: number; temporalPort: number; temporalAddress: string | null }
}

export function readRunState(home: string): RunState | null {
  try {
    return JSON.parse(readFileSync(stateFile(home), 'utf8')) as RunState
  } catch {
    return null
  }
}

function runningApiUrl(home: string): string | null {
  const port = readRunState(home)?.options?.apiPort
  return port === undefined ? null : `http://127.0.0.1:${port}`
}

function readToken(home: string): string | null {
  const file = join(home, 'token')
  return existsSync(file) ? readFileSync(file, 'utf8').trim() || null : null
}
