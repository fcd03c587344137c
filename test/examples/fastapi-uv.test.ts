import { execFile } from 'node:child_process'
import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { installEnvironment } from '../../runtime/builders/install-environment.ts'
import { toolPath } from '../../runtime/tool-path.ts'
import { ROOT } from '../../scripts/stack-options.ts'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'
import { type Operation, Platform } from '../helpers/platform.ts'

let platform: Platform
let source: string

beforeAll(async () => {
  platform = await Platform.start()
  source = join(platform.sources, 'rotation')
  await cp(join(ROOT, 'examples', 'fastapi-uv'), source, { recursive: true })
  await rm(join(source, 'uv.lock'), { force: true })
})
afterAll(() => platform?.stop())

/** With the least version of each declared package, so that what a build without the lock would choose differs. */
async function lock(): Promise<Record<string, string>> {
  const { env } = installEnvironment({
    env: process.env,
    toolPath: toolPath(process.execPath, process.env),
    cacheDir: join(platform.stack.home, 'cache'),
  })
  await promisify(execFile)((await resolveTool('uv')).path, ['lock', '--resolution', 'lowest-direct'], {
    cwd: source,
    env: { ...env, HOME: source },
  })
  const text = await readFile(join(source, 'uv.lock'), 'utf8')
  const locked = [...text.matchAll(/^name = "(fastapi|uvicorn)"\nversion = "(.*)"$/gm)]
  return Object.fromEntries(locked.map(([, name, version]) => [name, version]))
}

const deploy = async () =>
  platform.ended(await platform.beginDeploy('rotation', { source: 'rotation', instances: 2 }), 240_000)
const buildOf = (operation: Operation) => operation.steps?.find(({ words }) => words === 'Build the artifact')?.detail
/** What the router answers for each of the two slots. */
async function answers(path: string): Promise<Array<Record<string, unknown>>> {
  const keys = Array.from({ length: 40 }, (_, i) => `key-${i}`)
  const bySlot = new Map<number, Record<string, unknown>>()
  for (const key of keys) {
    const { body: where } = await platform.ask('rotation', { key })
    const { body } = await platform.ask('rotation', { key, path })
    bySlot.set(where.slot as number, body)
  }
  return [...bySlot].sort(([a], [b]) => a - b).map(([, body]) => body)
}

it('R3.2 R3.6 without its uv.lock the example fails, and the message says to run "uv lock"', {
  timeout: 120_000,
}, async () => {
  expect(await deploy()).toMatchObject({
    state: 'FAILED',
    failure: { code: 'BuildFailed', message: expect.stringContaining('run "uv lock"') },
  })
})

it('R3.2 R3.6 R4.2 an app with uv.lock runs on what the lock says; a changed main.py builds no package', {
  timeout: 300_000,
}, async () => {
  const locked = await lock()
  const first = await deploy()
  expect(first.failure).toBeUndefined()
  expect(buildOf(first)).toBe('built dependencies, source')
  expect((await answers('/')).map(({ packages }) => packages)).toEqual([locked, locked])

  const main = join(source, 'main.py')
  const changed = (await readFile(main, 'utf8')).replace('Species.willow: 1.3', 'Species.willow: 13')
  await writeFile(main, changed)
  const path = '/api/rotation?species=willow&thickness=91'
  const rotation = { species: 'willow', height: 13 }
  expect(await answers(path)).toEqual(Array(2).fill({ ...rotation, years: 10 }))
  const second = await deploy()
  expect(second.failure).toBeUndefined()
  expect(buildOf(second)).toBe('built source')
  expect(await answers(path)).toEqual(Array(2).fill({ ...rotation, years: 1 }))
  expect((await answers('/')).map(({ packages }) => packages)).toEqual([locked, locked])
})
