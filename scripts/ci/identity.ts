import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { ROOT } from '../stack-options.ts'
import { endAll, pidsOf } from './leftovers.ts'

/** Who runs a part of CI: with which rights, and with which environment. */
export type Identity = { name: string; env: NodeJS.ProcessEnv; uid?: number; gid?: number }

export const isRoot = (): boolean => process.getuid?.() === 0

export const myself = (): Identity => ({ name: isRoot() ? 'root' : 'this user', env: process.env })

const USER = 'coppice-ci'
/** How this machine reaches registries: what somebody who works here would have set up for himself. */
const SETTINGS = ['.npmrc', '.netrc', '.config/pip', '.pip', '.config/uv', '.config/go/env']

/** Makes somebody with no rights, at home in a new folder. For root only, on Linux. */
export function makeUser(home: string): Identity {
  execFileSync('useradd', ['--system', '--no-create-home', '--home-dir', home, '--shell', '/bin/sh', USER])
  const [uid, gid] = [idOf('-u'), idOf('-g')]
  if (uid === null || gid === null) throw new Error(`useradd made no user ${USER}`)
  mkdirSync(home, { recursive: true, mode: 0o700 })
  for (const name of SETTINGS) {
    const from = (name === '.npmrc' && process.env.npm_config_userconfig) || join(homedir(), name)
    if (existsSync(from)) cpSync(from, join(home, name), { recursive: true })
  }
  return { name: USER, uid, gid, env: environment(home) }
}

/** Ends all that this user runs, and takes it from the machine. */
export async function removeUser(): Promise<void> {
  const uid = idOf('-u')
  if (uid === null) return
  await endAll(async () => pidsOf(uid))
  // By force, because a zombie that nobody takes leave of still counts as a login.
  execFileSync('userdel', ['--force', USER], { stdio: 'ignore' })
}

/** Of a link the link itself is given, and not what it leads to. */
export function giveTree(path: string, { uid, gid }: Identity): void {
  if (uid !== undefined && gid !== undefined) execFileSync('chown', ['-R', '-h', `${uid}:${gid}`, path])
}

/** Caches and settings of programs, which belong to root wherever they are; the user has some of his own at home. */
const PLACES =
  /^(XDG_\w+|COPPICE_CACHE|npm_config_(cache|prefix|userconfig|globalconfig)|GO(PATH|BIN|CACHE|MODCACHE|ENV)|(UV|PIP)_CACHE_DIR|MAIL)$/i

/** Root's without what leads into root's home or into this clone, whose Node and programs are not the machine's. */
function environment(home: string): NodeJS.ProcessEnv {
  const closed = [homedir(), ROOT.replace(/\/$/, '')]
  const isOpen = (path: string) => !closed.some((folder) => path === folder || path.startsWith(`${folder}/`))
  const kept = Object.entries(process.env).filter(
    ([name, value = '']) => name === 'PATH' || (!PLACES.test(name) && value.split(delimiter).every(isOpen)),
  )
  const PATH = (process.env.PATH ?? '').split(delimiter).filter(isOpen).join(delimiter)
  return { ...Object.fromEntries(kept), PATH, HOME: home, USER, LOGNAME: USER }
}

function idOf(flag: '-u' | '-g'): number | null {
  const { status, stdout } = spawnSync('id', [flag, USER], { encoding: 'utf8' })
  return status === 0 ? Number(stdout) : null
}
