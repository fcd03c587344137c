import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { INHERITED_VARIABLES, SYSTEM_PATH } from '../environment.ts'

export type InstallEnvironment = {
  /** For every program of a build, but for HOME and TMPDIR. */
  env: Record<string, string>
  /** What of it decides which packages come out, for the keys of layers; without credentials. */
  sources: Record<string, string>
}

export type InstallEnvironmentInput = {
  /** Environment of the worker; proxies, package indexes and certificates are taken from it, nothing else. */
  env: Readonly<Record<string, string | undefined>>
  /** Where node and npm are. */
  toolPath: readonly string[]
  /** Where uv, npm and pnpm keep what they have downloaded. */
  cacheDir: string
}

/** Settings of uv that people give to reach their package index. */
const UV_PASSED =
  /^UV_(?:DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|INDEX_STRATEGY|INDEX_.+_(?:USERNAME|PASSWORD)|FIND_LINKS|NO_INDEX|OFFLINE|KEYRING_PROVIDER|NATIVE_TLS|SYSTEM_CERTS|INSECURE_HOST|HTTP_TIMEOUT|HTTP_RETRIES|EXCLUDE_NEWER|PYTHON_INSTALL_DIR|CONCURRENT_\w+)$/
/** The same of npm, which reads both spellings. */
const NPM_PASSED =
  /^npm_config_(?:registry|userconfig|globalconfig|proxy|https_proxy|noproxy|cafile|offline|prefer_offline)$/i
/** Those that decide what is found. */
const DECIDING =
  /^(?:UV_(?:DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|INDEX_STRATEGY|FIND_LINKS|NO_INDEX|EXCLUDE_NEWER)|npm_config_registry)$/i

/**
 * The environment in which packages are installed: clean, with fixed settings, and with this machine's way to its
 * package indexes. Where uv has none of its own, pip's is used, because that is what machines behind a mirror have.
 */
export function installEnvironment({ env, toolPath, cacheDir }: InstallEnvironmentInput): InstallEnvironment {
  const home = env.HOME ?? '/'
  const result: Record<string, string> = { ...uvFromPip(env, home) }
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && (UV_PASSED.test(name) || NPM_PASSED.test(name))) result[name] = value
  }
  for (const name of [...INHERITED_VARIABLES, 'NETRC', 'GIT_CONFIG_GLOBAL', 'GIT_SSL_CAINFO', 'SSH_AUTH_SOCK']) {
    const value = env[name]
    if (value !== undefined) result[name] = value
  }
  // HOME is a fresh directory for each build; these three hold the user's access to registries, so they are named.
  const perHome = { npm_config_userconfig: '.npmrc', NETRC: '.netrc', GIT_CONFIG_GLOBAL: '.gitconfig' }
  for (const [name, file] of Object.entries(perHome)) {
    const set = Object.keys(result).some((key) => key.toLowerCase() === name.toLowerCase())
    if (!set && existsSync(join(home, file))) result[name] = join(home, file)
  }
  const uvConfig = join(env.XDG_CONFIG_HOME ?? join(home, '.config'), 'uv', 'uv.toml')
  // Else uv would look for settings in every directory above the build, up to the user's own projects.
  Object.assign(result, existsSync(uvConfig) ? { UV_CONFIG_FILE: uvConfig } : { UV_NO_CONFIG: '1' })

  Object.assign(result, {
    PATH: [...toolPath, ...SYSTEM_PATH].join(':'),
    LANG: env.LANG ?? 'C.UTF-8',
    NO_COLOR: '1',
    UV_CACHE_DIR: join(cacheDir, 'uv'),
    // Not `clone`: where the file system cannot, uv falls back to hard links, and through these one app's write would
    // change another's layer (D6).
    UV_LINK_MODE: 'copy',
    UV_COMPILE_BYTECODE: '1',
    // Sealed files do not change, so nothing has to look whether they did; and it does not matter what their times are.
    PYC_INVALIDATION_MODE: 'UNCHECKED_HASH',
    UV_NO_PROGRESS: '1',
    UV_PYTHON_DOWNLOADS: 'never',
    npm_config_cache: join(cacheDir, 'npm'),
    npm_config_fund: 'false',
    npm_config_audit: 'false',
    npm_config_update_notifier: 'false',
    npm_config_progress: 'false',
    npm_config_yes: 'true',
    npm_config_store_dir: join(cacheDir, 'pnpm'),
    npm_config_package_import_method: 'clone-or-copy',
  })
  const deciding = Object.entries(result).filter(([name]) => DECIDING.test(name))
  return {
    env: result,
    sources: Object.fromEntries(deciding.map(([name, value]) => [name, withoutCredentials(value)]).sort()),
  }
}

/** What pip knows and uv does not read, in uv's words. */
function uvFromPip(env: InstallEnvironmentInput['env'], home: string): Record<string, string> {
  const pip = pipSettings(env, home)
  const hasOwnIndex = ['UV_DEFAULT_INDEX', 'UV_INDEX', 'UV_INDEX_URL', 'UV_EXTRA_INDEX_URL'].some((name) => env[name])
  const result: Record<string, string> = {}
  const take = (name: string, key: string, separator: string) => {
    const value = pip[key]?.trim().split(/\s+/).join(separator)
    if (value) result[name] = value
  }
  if (!hasOwnIndex) {
    take('UV_DEFAULT_INDEX', 'index-url', ' ')
    take('UV_INDEX', 'extra-index-url', ' ')
    take('UV_FIND_LINKS', 'find-links', ',')
  }
  take('UV_INSECURE_HOST', 'trusted-host', ' ')
  take('UV_HTTP_TIMEOUT', 'default-timeout', ' ')
  take('UV_HTTP_TIMEOUT', 'timeout', ' ')
  take('SSL_CERT_FILE', 'cert', ' ')
  return result
}

function pipSettings(env: InstallEnvironmentInput['env'], home: string): Record<string, string> {
  const files = [
    '/etc/xdg/pip/pip.conf',
    '/etc/pip.conf',
    '/Library/Application Support/pip/pip.conf',
    join(home, '.pip/pip.conf'),
    join(home, 'Library/Application Support/pip/pip.conf'),
    join(env.XDG_CONFIG_HOME ?? join(home, '.config'), 'pip/pip.conf'),
    env.PIP_CONFIG_FILE ?? '',
  ]
  const settings: Record<string, string> = {}
  for (const file of files) {
    if (file !== '' && existsSync(file)) Object.assign(settings, parsePipConfig(readFileSync(file, 'utf8')))
  }
  for (const [name, value] of Object.entries(env)) {
    if (name.startsWith('PIP_') && value) settings[name.slice(4).toLowerCase().replaceAll('_', '-')] = value
  }
  return settings
}

/** The sections that count for an installation; a value may go on in indented lines. */
export function parsePipConfig(text: string): Record<string, string> {
  const settings: Record<string, string> = {}
  let counts = false
  let last = ''
  for (const line of text.split('\n')) {
    if (/^\s*[#;]/.test(line) || line.trim() === '') continue
    const section = /^\[(.+)\]/.exec(line)
    const entry = /^([\w-]+)\s*[=:]/.exec(line)
    if (section !== null) {
      counts = section[1] === 'global' || section[1] === 'install'
      last = ''
    } else if (entry !== null) {
      last = (entry[1] ?? '').replaceAll('_', '-')
      if (counts) settings[last] = line.slice(entry[0].length).trim()
    } else if (counts && last !== '' && /^\s/.test(line)) {
      settings[last] = `${settings[last]} ${line.trim()}`.trim()
    }
  }
  return settings
}

/** A rotated password is no reason to install everything again, and has no place in a key. */
function withoutCredentials(value: string): string {
  return value.replace(/\/\/[^/@\s]*@/g, '//')
}
