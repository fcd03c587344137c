import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { Progress } from './progress.ts'
import type { Stack, StartStackOptions } from './stack/stack.ts'
import { freeStackOptions, homePaths } from './stack-options.ts'
import { check } from './start-check.ts'

let temporary: string
let said: string
beforeEach(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'coppice-start-check-'))
  vi.stubEnv('TMPDIR', temporary)
  said = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    said += String(text)
    return true
  })
})
afterEach(async () => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  await rm(temporary, { recursive: true })
})

const progress: Progress = { step: () => {}, end: () => {}, fail: () => {}, note: () => {} }

/** A stack whose control plane is dead, and which cannot be stopped whole. */
function stuck(stops: string[]) {
  return async ({ home }: StartStackOptions): Promise<Stack> => {
    await mkdir(homePaths(home).logs)
    await writeFile(homePaths(home).token, 'secret')
    const stack: Partial<Stack> = {
      home,
      apiUrl: `http://127.0.0.1:${(await freeStackOptions(home)).apiPort}`,
      token: 'secret',
      pids: {},
      stop: async () => {
        stops.push(home)
        throw new Error(`Instances are left on ${home}: i-1`)
      },
    }
    return stack as Stack
  }
}

it.each(['interrupted', 'left alone'])(
  'R1.2 %s, it takes no data directory from under what could not be stopped, says where it is, and leaves no token in it',
  async (how) => {
    const stops: string[] = []
    const begin = async (request: StartStackOptions) => {
      if (how === 'interrupted') process.emit('SIGHUP')
      return stuck(stops)(request)
    }
    expect(await check(progress, begin)).toBe(1)
    const [home] = stops as [string]
    expect(stops).toEqual([home])
    expect(said).toContain(`Instances are left on ${home}: i-1`)
    expect(said).toContain(homePaths(home).logs)
    expect(said).toContain(`npx coppice --home ${home} down --purge\n`)
    expect(await readdir(home)).toEqual(['logs'])
  },
)
