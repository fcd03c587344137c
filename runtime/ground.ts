import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs'
import { mkdir, readdir, rename, symlink, unlink, utimes, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { basename, dirname, isAbsolute, join } from 'node:path'
import { promisify } from 'node:util'
import type { Logger } from 'pino'
import { removeTree } from './artifacts/trees.ts'
import { eachApart } from './each-apart.ts'

const run = promisify(execFile)

/**
 * What programs of apps run in, are built in, or are fetched to. All of it can be made again; what can not stays in the
 * data directory itself.
 */
export const GROUND = ['artifacts', 'cache', 'instances'] as const
export type Ground = Record<(typeof GROUND)[number], string>

/** Says in the ground which data directory it belongs to. */
const OWNER = 'owner.json'
type Owner = { home: string; inode: number }

export type GroundOptions = {
  logger: Pick<Logger, 'info' | 'warn'>
  /** Of the worker, for where the user keeps state. */
  env: Readonly<Record<string, string | undefined>>
  /** Folders to hold grounds, the first that fits is taken; default: see `places`. */
  places?: readonly string[]
}

/**
 * Where the trees of apps lie: below no folder that has a `node_modules`. Node, npm, npx, tsc and every bundler look for
 * packages and programs in the folder of a file and in each one above it, and nothing tells all of them to stop. A data
 * directory in a clone has the clone's packages above it, so its apps would find what they never declared. Where that is
 * so the trees lie in the user's folder for state, and the data directory has links to them (D6).
 *
 * Called by the one worker of a data directory before anything runs. Returns real paths: those are what programs see.
 */
export async function settleGround(home: string, options: GroundOptions): Promise<Ground> {
  await mkdir(home, { recursive: true, mode: 0o700 })
  const place = groundOf(home) ?? (packagesAbove(home) === null ? home : await makeGround(home, options))
  if (place !== home) await own(place, home)
  const settled: Partial<Ground> = {}
  for (const name of GROUND) settled[name] = realpathSync(await settle(name, home, place, options))
  return settled as Ground
}

/** The first `node_modules` in this folder or above it, or null. The folder need not be there yet. */
export function packagesAbove(path: string): string | null {
  let folder = path
  while (!existsSync(folder)) folder = dirname(folder)
  for (folder = realpathSync(folder); ; folder = dirname(folder)) {
    const packages = join(folder, 'node_modules')
    if (existsSync(packages)) return packages
    if (folder === dirname(folder)) return null
  }
}

/** The ground that the links of a data directory lead to, or null. A copied data directory has links, but no ground. */
export function groundOf(home: string): string | null {
  for (const name of GROUND) {
    const path = join(home, name)
    if (!isLink(path)) continue
    const ground = dirname(readlinkSync(path))
    if (isOwner(home, ownerOf(ground))) return ground
  }
  return null
}

/** Also those of a data directory that was removed, or lost its links: a ground says whose it was. */
export function groundsOf(home: string, { env, places: given }: Pick<GroundOptions, 'env' | 'places'>): string[] {
  const linked = groundOf(home)
  const real = realPathOf(home)
  const lost = [...(given ?? places(env))]
    .filter((place) => existsSync(place) && isOurs(place))
    .flatMap((place) => readdirSync(place).map((name) => join(realpathSync(place), name)))
    .filter((ground) => {
      const owner = ownerOf(ground)
      return owner?.home === real && !isMovedAside(owner)
    })
  return [...new Set([...(linked === null ? [] : [linked]), ...lost])]
}

/**
 * Everywhere that this part of the trees of a data directory may lie, there or not: in itself, where its link leads, and in
 * grounds that lost theirs. Not where the link of a copy leads: what is and runs there is the original's.
 */
export function partsOf(home: string, name: keyof Ground, lookup: Pick<GroundOptions, 'env' | 'places'>): string[] {
  // What runs in a folder goes along when that moves into the ground, and keeps in its environment where it was.
  const inside = isOfAnother(home, name) ? [] : [realPathOf(join(home, name)), join(realPathOf(home), name)]
  return [...new Set([...inside, ...groundsOf(home, lookup).map((ground) => realPathOf(join(ground, name)))])]
}

/** One that nobody owns somebody has put onto another disk. */
function isOfAnother(home: string, name: keyof Ground): boolean {
  const path = join(home, name)
  const owner = isLink(path) ? ownerOf(dirname(readlinkSync(path))) : null
  return owner !== null && !isOwner(home, owner)
}

/** Takes the grounds of a data directory away, with all that is in them. */
export async function removeGrounds(home: string, options: Pick<GroundOptions, 'env' | 'places'>): Promise<void> {
  await eachApart(groundsOf(home, options), removeTree)
}

/** Where it is, or would be if it were there. */
export function realPathOf(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path === dirname(path) ? path : join(realPathOf(dirname(path)), basename(path))
  }
}

/**
 * By inode and path: a rename changes the path, a copy on the same disk both, and one on another disk may have the same
 * inode there. The number of a device is compared between two that are there now: it changes when the machine starts again.
 */
function isOwner(home: string, owner: Owner | null): boolean {
  const { ino, dev } = statSync(home)
  if (owner?.inode !== ino) return false
  // Where one may not look any more it is not either.
  const original = existsSync(owner.home) ? statSync(owner.home) : null
  return original?.ino !== ino || original.dev === dev
}

/** Renamed, and another one is there now: the next start under the new name says so in the ground. */
function isMovedAside({ home, inode }: Owner): boolean {
  const folder = dirname(home)
  if (!existsSync(folder)) return false
  // Another disk that is mounted there has numbers of its own, and the top of each has the same one.
  const { dev } = statSync(folder)
  return readdirSync(folder)
    .map((name) => join(folder, name))
    .some((path) => {
      const found = lstatSync(path, { throwIfNoEntry: false })
      return path !== home && found?.ino === inode && found.dev === dev
    })
}

/** Where a user's programs keep state, else where whatever is kept over a restart of the machine may lie. */
function places(env: GroundOptions['env']): string[] {
  const uid = process.getuid?.() ?? 0
  const home = env.HOME || homedir()
  return [
    ...(env.XDG_STATE_HOME && isAbsolute(env.XDG_STATE_HOME) ? [join(env.XDG_STATE_HOME, 'coppice')] : []),
    ...(isAbsolute(home) ? [join(home, '.local', 'state', 'coppice')] : []),
    ...(uid === 0 ? ['/var/lib/coppice'] : []),
    `/var/tmp/coppice-${uid}`,
  ]
}

async function makeGround(home: string, options: GroundOptions): Promise<string> {
  for (const place of options.places ?? places(options.env)) {
    if (packagesAbove(place) !== null) continue
    try {
      await mkdir(place, { recursive: true, mode: 0o700 })
      if (!isOurs(place)) continue
      await sweepGrounds(place)
      const ground = join(realpathSync(place), nameFor(home))
      await mkdir(ground, { recursive: true, mode: 0o700 })
      options.logger.info({ ground }, 'the trees of apps lie outside the data directory, which has packages above it')
      return ground
    } catch (error) {
      options.logger.info({ err: error, place }, 'no place for the trees of apps')
    }
  }
  options.logger.warn(
    { packages: packagesAbove(home) },
    'apps find packages that they do not declare: there are some above the data directory, and no other place was found; set XDG_STATE_HOME or COPPICE_HOME',
  )
  return home
}

async function settle(
  name: (typeof GROUND)[number],
  home: string,
  place: string,
  { logger }: GroundOptions,
): Promise<string> {
  const path = join(home, name)
  const target = join(place, name)
  // Somebody has put it onto another disk.
  if (isLink(path) && existsSync(path) && ownerOf(dirname(readlinkSync(path))) === null) return path
  if (place === home) {
    if (isLink(path)) await unlink(path)
    await mkdir(path, { recursive: true, mode: 0o700 })
    return path
  }
  if (existsSync(path) && !isLink(path) && !(await moveInto(target, path, name))) {
    logger.warn({ path }, 'instances run there; they move to the ground of the trees when they have been stopped once')
    return path
  }
  await mkdir(target, { recursive: true, mode: 0o700 })
  if (isLink(path) && readlinkSync(path) === target) return target
  if (isLink(path)) await unlink(path)
  await symlink(target, path)
  return target
}

/** What an older version or a restore has put into the data directory. Processes go with a folder that is renamed. */
async function moveInto(target: string, path: string, name: (typeof GROUND)[number]): Promise<boolean> {
  await removeTree(target)
  try {
    await rename(path, target)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error
  }
  if (name === 'instances' && (await readdir(path)).some((entry) => !entry.startsWith('.'))) return false
  // Times and permissions too, by which sealed trees are known (D6).
  if (name !== 'cache') await run('cp', ['-a', path, target])
  await removeTree(path)
  return true
}

/** A removed data directory leaves its ground; a month later nobody comes back for it. */
const KEEP_MS = 30 * 24 * 3_600_000

async function sweepGrounds(place: string): Promise<void> {
  for (const name of await readdir(place)) {
    const ground = join(place, name)
    const owner = ownerOf(ground)
    if (owner === null || statSync(join(ground, OWNER)).mtimeMs > Date.now() - KEEP_MS) continue
    // One that cannot be removed makes the place no worse for the others.
    if (!existsSync(owner.home) || statSync(owner.home).ino !== owner.inode)
      await removeTree(ground).catch(() => undefined)
  }
}

/** At no time without a word of whose it is: a ground that nobody owns is not found again, and not taken away. */
async function own(ground: string, home: string): Promise<void> {
  const file = join(ground, OWNER)
  const words = JSON.stringify(ownerFor(home))
  // When it was used last, for `sweepGrounds`.
  if (JSON.stringify(ownerOf(ground)) === words) return utimes(file, new Date(), new Date())
  await writeFile(`${file}.draft`, words, { flush: true })
  await rename(`${file}.draft`, file)
}

function ownerFor(home: string): Owner {
  return { home: realpathSync(home), inode: statSync(home).ino }
}

function nameFor(home: string): string {
  return createHash('sha256')
    .update(JSON.stringify(ownerFor(home)))
    .digest('hex')
    .slice(0, 12)
}

function ownerOf(ground: string): Owner | null {
  try {
    return JSON.parse(readFileSync(join(ground, OWNER), 'utf8')) as Owner
  } catch {
    return null
  }
}

/** In a folder that others can write, somebody else may have been first. */
function isOurs(path: string): boolean {
  const { uid, mode } = statSync(path)
  return uid === (process.getuid?.() ?? uid) && (mode & 0o022) === 0
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true
}
