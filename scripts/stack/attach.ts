import { readFileSync } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { isAlive, systemProcessTable } from '../../runtime/providers/process/process-table.ts'
import type { Progress } from '../progress.ts'
import { homePaths } from '../stack-options.ts'
import { findApp } from './client.ts'
import { EXAMPLE, reach } from './example-app.ts'
import { readState, type StackState } from './state-file.ts'
import { summary } from './summary.ts'

const POLL_MS = 250
const GONE_AFTER_MS = 1_000

/**
 * A second start on a data directory: shows what the first one shows, until Ctrl-C or until the first one ends.
 * `gone`: that one ended before there was anything to attach to.
 */
export async function followAttached(
  home: string,
  progress: Progress,
  interrupted: AbortSignal,
): Promise<'detached' | 'ended' | 'gone'> {
  const paths = homePaths(home)
  progress.step('Another start holds the data directory; attaching to it')
  let state = await awaitReady(home, interrupted)
  if (state === null) {
    progress.end()
    return interrupted.aborted ? 'detached' : 'gone'
  }
  const { options } = state
  const at = { apiUrl: `http://127.0.0.1:${options.apiPort}`, token: readFileSync(paths.token, 'utf8').trim() }
  const example = (await findApp(at, EXAMPLE.app)) === null ? null : await reach(at, EXAMPLE.app, () => {})
  progress.end()
  process.stdout.write(await summary(options, example, true))
  let from = (await stat(paths.log('start')).catch(() => null))?.size ?? 0
  while (!interrupted.aborted) {
    from = await copyFrom(paths.log('start'), from)
    state = readState(paths.state)
    if (state === null || !(await starterLives(state))) return ended()
    await sleep(POLL_MS, undefined, { signal: interrupted }).catch(() => {})
  }
  process.stderr.write('\nDetached; it runs on.\n')
  return 'detached'
}

async function awaitReady(home: string, interrupted: AbortSignal): Promise<StackState | null> {
  let seen = performance.now()
  while (!interrupted.aborted) {
    const state = readState(homePaths(home).state)
    if (state?.phase === 'ready') return state
    if (state !== null) seen = performance.now()
    // Without a state file the other one is about to write it, or has just ended.
    const gone = state === null ? performance.now() - seen > GONE_AFTER_MS : !(await starterLives(state))
    if (gone) return null
    await sleep(POLL_MS, undefined, { signal: interrupted }).catch(() => {})
  }
  return null
}

function starterLives({ starter }: StackState): Promise<boolean> {
  return isAlive(systemProcessTable(), starter.pid, starter.startTime)
}

function ended(): 'ended' {
  process.stderr.write('The start that this one was attached to has ended.\n')
  return 'ended'
}

async function copyFrom(file: string, from: number): Promise<number> {
  const size = (await stat(file).catch(() => null))?.size ?? 0
  // Shorter than before: it was rotated.
  const start = size < from ? 0 : from
  if (size === start) return size
  const handle = await open(file, 'r')
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - start), 0, size - start, start)
    process.stderr.write(buffer.subarray(0, bytesRead))
  } finally {
    await handle.close()
  }
  return size
}
