import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { acquireProcessLock } from '../../store/process-lock.ts'

/** Where fetched tools stay, for all clones of this user. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  return env.COPPICE_CACHE ?? join(env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'coppice')
}

/** Two machines may share a home. */
export function toolFolder(cache: string, name: string, version: string): string {
  return join(cache, 'tools', `${name}-${version}-${process.platform}-${process.arch}`)
}

/**
 * Fills `folder` once, however many processes ask at the same time: one fills a draft and renames it into place, the
 * others wait for it. A process that dies on the way leaves a draft, which the next one removes.
 */
export async function fillOnce(
  folder: string,
  fill: (draft: string) => Promise<void>,
  onWait: () => void = () => {},
): Promise<void> {
  await mkdir(join(folder, '..'), { recursive: true })
  const lock = await waitForLock(`${folder}.lock`, onWait)
  const draft = `${folder}.draft`
  try {
    if (existsSync(folder)) return
    await rm(draft, { recursive: true, force: true })
    await mkdir(draft)
    await fill(draft)
    await rename(draft, folder)
  } finally {
    await rm(draft, { recursive: true, force: true })
    lock.release()
  }
}

async function waitForLock(file: string, onWait: () => void) {
  for (let told = false; ; told = true) {
    const lock = acquireProcessLock(file)
    if (lock !== null) return lock
    if (!told) onWait()
    await sleep(250)
  }
}
